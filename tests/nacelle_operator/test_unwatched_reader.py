"""What is not watched is looked for live, and a missing kind is told from one without objects."""

import asyncio
from typing import Any

import pytest

from nacelle_operator.errors import NotFound
from nacelle_operator.kinds import UNWATCHED, Kind
from nacelle_operator.seen import Seen
from nacelle_operator.unwatched_reader import UnwatchedReader

OBJECT = {"metadata": {"name": "chat"}}


class Server:
    """A cluster that knows the kind or does not, and has an object of it or has none."""

    def __init__(self, kind: Kind, is_known: bool, held: dict[str, Any] | None) -> None:
        self.kind, self.is_known, self.held = kind, is_known, held

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        assert (kind, namespace, name) == (self.kind, "team", "chat")
        if self.held is None:
            raise NotFound("404")
        return self.held

    def list(self, kind: Kind, namespace: str, selector: str) -> list[Any]:
        assert (kind, selector) == (self.kind, "nacelle.dev/inference-deployment=chat")
        if not self.is_known:
            raise NotFound("404")
        return []


@pytest.mark.parametrize("kind", UNWATCHED, ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("is_known", "held", "seen"),
    [
        (True, OBJECT, Seen(True, OBJECT)),
        (True, None, Seen(True, None)),
        (False, None, Seen(False, None)),
    ],
)
def test_what_is_seen(kind: Kind, is_known: bool, held: Any, seen: Seen) -> None:
    reader = UnwatchedReader(Server(kind, is_known, held))
    assert asyncio.run(reader.read(kind, "team", "chat")) == seen
