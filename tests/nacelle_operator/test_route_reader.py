"""An HTTPRoute is looked for live, and a kind that is missing is told from one without objects."""

import asyncio
from typing import Any

import pytest

from nacelle_operator.errors import NotFound
from nacelle_operator.kinds import Kind
from nacelle_operator.route_reader import RouteReader, RouteSeen

ROUTE = {"metadata": {"name": "chat"}}


class Server:
    """A cluster that knows the kind or does not, and has a route or has none."""

    def __init__(self, is_known: bool, route: dict[str, Any] | None) -> None:
        self.is_known, self.route = is_known, route

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        assert (kind.plural, namespace, name) == ("httproutes", "team", "chat")
        if self.route is None:
            raise NotFound("404")
        return self.route

    def list(self, kind: Kind, namespace: str, selector: str) -> list[Any]:
        assert selector == "nacelle.dev/inference-deployment=chat"
        if not self.is_known:
            raise NotFound("404")
        return []


@pytest.mark.parametrize(
    ("is_known", "route", "seen"),
    [
        (True, ROUTE, RouteSeen(True, ROUTE)),
        (True, None, RouteSeen(True, None)),
        (False, None, RouteSeen(False, None)),
    ],
)
def test_what_is_seen(is_known: bool, route: Any, seen: RouteSeen) -> None:
    assert asyncio.run(RouteReader(Server(is_known, route)).read("team", "chat")) == seen
