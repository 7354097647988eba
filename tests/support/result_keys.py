"""The key of a test file: what its tests' results follow from, as one SHA-256."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from pathlib import Path

from reached_files import Checkout
from run_conditions import conditions, named_variables, variables

# These decide what is compared.
_RULES = (
    "files_read.py",
    "kept_chooser.py",
    "kept_keeper.py",
    "kept_results.py",
    "path_expressions.py",
    "reached_files.py",
    "result_keys.py",
    "result_store.py",
    "run_conditions.py",
)


class ResultKeys:
    """The keys of all test files of a checkout as it is now."""

    def __init__(self, root: Path, options: Sequence[str], environment: Mapping[str, str]) -> None:
        self._root = root
        self._checkout = Checkout(root)
        self._environment = environment
        self._everywhere = [
            *conditions(root, options),
            _line("pyproject.toml", root / "pyproject.toml"),
        ]
        self._everywhere += [_line(rule, Path(__file__).parent / rule) for rule in _RULES]
        self._line = cache(lambda file: _line(file, root / file))
        self._named = cache(lambda file: named_variables(self._checkout.text(file), environment))
        self.key = cache(self._key)

    @property
    def tests(self) -> Sequence[str]:
        """All test files, as paths below the root."""
        return self._checkout.tests

    def unforeseen(self, test: str, read: Collection[str]) -> list[str]:
        """Those paths of the checkout that are not among what a test file's key is made of."""
        known = self._checkout.reached_by(test) | {"pyproject.toml"}
        places = {place for place in read if place != "."}
        return sorted(place for place in places if self._checkout.whole(place) - known)

    def _key(self, test: str) -> str:
        files = sorted(self._checkout.reached_by(test))
        names = set().union(*map(self._named, files))
        lines = [
            test,
            *self._everywhere,
            *variables(self._root, names, self._environment),
            *map(self._line, files),
        ]
        return hashlib.sha256("\0".join(lines).encode()).hexdigest()


def _line(name: str, path: Path) -> str:
    if not path.is_file():
        return f"{name} none"
    executable = bool(path.stat().st_mode & 0o111)
    return f"{name} {executable} {hashlib.sha256(path.read_bytes()).hexdigest()}"
