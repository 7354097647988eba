"""How answers are drafted: guessed ahead, then verified by the engine in one step."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nacelle_operator.api.engine_build_status import EngineRef
from nacelle_operator.api.schema import ApiModel, Rule


class Speculative(ApiModel):
    """Drafted tokens; those are kept that the engine draws itself, so answers stay the same."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.method != 'DraftEngine' || has(self.draftEngineRef)",
            "runtime.speculative.method DraftEngine needs draftEngineRef: the Engine that drafts",
        ),
        Rule(
            "self.method == 'DraftEngine' || !has(self.draftEngineRef)",
            "runtime.speculative.draftEngineRef has a meaning with method DraftEngine only: "
            "leave it out",
        ),
    )

    method: Literal["PromptLookup", "DraftEngine"]
    """PromptLookup: guess how an answer goes on from the request's own text. DraftEngine: by a
    second, smaller engine of a model with the same tokenizer."""

    tokens: Annotated[int, Field(ge=1, le=16)] | None = None
    """Drafted tokens of an answer in a step, at most; left out: 4. Fewer are drafted where they do
    not pay."""

    draft_engine_ref: EngineRef | None = None
    """The Engine that drafts: in the same claim as the engine, for the same architecture and
    runtime. Its memory comes off the KV cache."""
