"""A call as a model writes it of its own accord: a JSON object that may be anything."""

import re
from typing import NamedTuple

import msgspec

_NAME = re.compile("[A-Za-z0-9_-]{1,64}")


class Written(NamedTuple):
    """A function's name, and the JSON text of the object that it is given."""

    name: str
    arguments: str


def written(text: str, key: str) -> Written | None:
    """The call in a JSON text {"name": NAME, key: OBJECT}; None where it is no such text."""
    try:
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        name = msgspec.json.decode(fields["name"], type=str)
        arguments = fields[key]
        msgspec.json.decode(arguments, type=dict)
    except (msgspec.DecodeError, UnicodeError, RecursionError, KeyError):
        return None
    return Written(name, bytes(arguments).decode()) if _NAME.fullmatch(name) else None
