"""The forms in which models write calls of their own accord, and which one a model has."""

import functools
from collections.abc import Set
from typing import Protocol

from nacelle_runtime.frontends.chat_template import (
    PROBE,
    PROBE_TOOLS,
    ChatTemplate,
    TemplateRefused,
)
from nacelle_runtime.frontends.tool_calls import Reader
from nacelle_runtime.frontends.tool_forms.hermes import Hermes
from nacelle_runtime.frontends.tool_forms.llama import Llama


class Form(Protocol):
    """A reader's class that knows its form in a prompt, and holds calls to schemas.

    ARGUMENTS is the key of a call's arguments; FRAME an answer's grammar in Lark's form, in which
    @calls is a call's JSON.
    """

    ARGUMENTS: str
    FRAME: str

    def __call__(self, names: Set[str], *, several: bool) -> Reader:
        """The reader of an answer."""
        ...

    @staticmethod
    def fits(rendered: str) -> bool:
        """Whether a rendered call of `probe` has this form."""
        ...


FORMS: tuple[Form, ...] = (Hermes, Llama)


@functools.cache
def form_of(template: ChatTemplate) -> Form | None:
    """The form in which a template writes a call of an answer that is sent back; None: no known."""
    try:
        rendered = template.render(PROBE, PROBE_TOOLS)
    except TemplateRefused:
        return None
    return next((form for form in FORMS if form.fits(rendered)), None)
