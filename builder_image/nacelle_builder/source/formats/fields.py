"""Reads a quantisation config's fields one by one; a field nobody asked for is refused by name."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from nacelle_engine.errors import InvalidModel, UnsupportedModel

_EMPTY: Final[tuple[Any, ...]] = (None, False, "", [], {})


class Fields:
    """One JSON object on its way: what is taken is known, and the rest must be empty."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise InvalidModel(f"{where} is no JSON object")
        self.where = where
        self._left = dict(value)

    def take(self, name: str, default: Any = None) -> Any:
        """A field's value; null counts as absent."""
        value = self._left.pop(name, None)
        return default if value is None else value

    def only(self, name: str, allowed: Collection[Any], default: Any = None) -> Any:
        """A field that may hold one of a few values."""
        value = self.take(name, default)
        # A list, since a value may be one that has no hash.
        if value not in list(allowed):
            known = ", ".join(repr(item) for item in allowed if item is not None)
            instead = f"; supported: {known}" if known else ""
            raise UnsupportedModel(f"{self.where}: {name} {value!r} is not supported{instead}")
        return value

    def names(self, *fields: str) -> tuple[str, ...]:
        """The texts in lists of module names, those of several fields together."""
        found: list[str] = []
        for field in fields:
            value = self.take(field, [])
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise InvalidModel(f"{self.where}: {field} is no list of module names")
            for item in value:
                self._check_pattern(field, item)
            found += value
        return tuple(found)

    def _check_pattern(self, field: str, item: str) -> None:
        if not item.startswith("re:"):
            return
        try:
            re.compile(item[3:])
        except re.error as error:
            raise InvalidModel(f"{self.where}: {field} {item!r}: {error}") from error

    def pair(self, name: str) -> tuple[int, int] | None:
        """A field with two sizes above 0, such as a block's [128, 128]; None when it is absent."""
        value = self.take(name)
        if value is None:
            return None
        if (
            not isinstance(value, list)
            or len(value) != 2
            or not all(isinstance(size, int) and size > 0 for size in value)
        ):
            raise InvalidModel(f"{self.where}: {name} {value!r} is no pair of sizes")
        return value[0], value[1]

    def skip(self, *names: str) -> None:
        """Pass over fields that change no number: notes of the tool that wrote them."""
        for name in names:
            self._left.pop(name, None)

    def finish(self) -> None:
        """Refuse what is left, since it could change the numbers."""
        left = {name: value for name, value in self._left.items() if value not in _EMPTY}
        if left:
            name, value = min(left.items())
            raise UnsupportedModel(
                f"{self.where}: {name} {value!r} is not known here and could change the numbers"
            )
