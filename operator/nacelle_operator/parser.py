"""Resources as models, each version parsed once while it is much asked for."""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from nacelle_operator.api.schema import Resource

# Each is several times what is cached of it, and a reconcile needs few.
_REMEMBERED = 256
_Model = TypeVar("_Model", bound=Resource)


class Parser(Generic[_Model]):
    """Parses objects of one kind, and remembers the newest versions of those parsed last."""

    def __init__(self, model: type[_Model]) -> None:
        self._model = model
        self._known: dict[str, tuple[str, _Model]] = {}

    def parse(self, raw: Mapping[str, Any]) -> _Model:
        """The model of an object as the API server gave it."""
        uid, version = raw["metadata"]["uid"], raw["metadata"]["resourceVersion"]
        known = self._known.get(uid)
        if known and known[0] == version:
            return known[1]
        model = self._model.parse(raw)
        self._known[uid] = (version, model)
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return model
