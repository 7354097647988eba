"""Which files of the checkout a test file's result can depend on: a superset, read off their texts.

A test imports, starts processes by name, and reads files by path, so it is texts that are followed,
strings and comments included: modules that are imported, modules of ours that are named (of a
package that is named all modules), helpers of tests by import or as `x.py`, paths from `__file__`,
and paths of the checkout that are spelled out. A module brings all files of its package that are
not Python's. An entry `"name": ("package.module", ...` of a table of commands is followed where the
name is in quotes. What a test reads beside it is found out while it runs (files_read.py).
"""

import os
import re
from collections.abc import Iterator, Set
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

from path_expressions import Climb, climbs, without_climbs

_SKIPPED = re.compile(r"\..*|__pycache__|.*\.egg-info|dist")
_FROM = re.compile(r"\bfrom\s+([\w.]+)\s+import\s+(\([^)]*\)|[^\n;\"']+)")
_IMPORT = re.compile(r"\bimport\s+([\w., ]+)")
_OURS = re.compile(r"\bnacelle_[a-z]\w*(?:\.\w+)*")
_OTHERS_PLACE = re.compile(r"\b(\w+)\.__file__\)?(?:\.resolve\(\))?\.parent")
_SCRIPT = re.compile(r"\b(\w+)\.py\b|[\"']-m[\"'],\s*[\"'](\w+)[\"']")
_PATH = re.compile(r"(?<![\w./-])(?:\w[\w-]*/)+[\w.-]*\w|[\"']\w[\w-]*/[\"']")
_COMMAND = re.compile(r"[\"'](\w+)[\"']:\s*\(\s*[\"'](nacelle_\w+(?:\.\w+)+)[\"']")
_SAID = re.compile(r"(?:[\"']|(?<=\bnacelle ))(\w+)")


def is_test(path: str) -> bool:
    """Whether pytest collects it."""
    return Path(path).name.startswith("test_") and path.endswith(".py")


class Checkout:
    """The files below a root, by their paths from there, and what each of them leads to."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = frozenset(_walk(root))
        self._inside: dict[str, set[str]] = {}
        for file in self.files:
            for place in (file, *map(str, PurePosixPath(file).parents)):
                if place == file or not is_test(file):
                    self._inside.setdefault(place, set()).add(file)
        # Each is asked for many times.
        for method in ("text", "_module", "_leads_to", "_commands", "_said"):
            setattr(self, method, cache(getattr(self, method)))

    @cached_property
    def tests(self) -> tuple[str, ...]:
        """All test files."""
        return tuple(sorted(f for f in self.files if _of_tests(f) and is_test(f)))

    def reached_by(self, test: str) -> frozenset[str]:
        """What a test file's result can depend on, itself included."""
        folder = str(PurePosixPath(test).parent)
        above = [f"{parent}/conftest.py" for parent in PurePosixPath(test).parents]
        # Helpers and data that lie beside it.
        seen = {test, *self.whole(folder), *self.files.intersection(above)}
        todo = list(seen)
        commands: set[tuple[str, str]] = set()
        said: set[str] = set()
        while todo:
            path = todo.pop()
            entries = self._commands(path)
            commands |= entries
            said |= self._said(path) - {name for name, _ in entries}
            chosen = {
                file for name, module in commands if name in said for file in self._module(module)
            }
            new = (self._leads_to(path) | chosen) - seen
            seen |= new
            todo += new
        return frozenset(seen)

    def whole(self, place: str) -> Set[str]:
        """A file, or all of a folder but the tests in it."""
        return self._inside.get(place, set())

    def text(self, path: str) -> str:
        """Of a program; of all other files, which lead nowhere, nothing."""
        program = path.endswith(".py") or "." not in PurePosixPath(path).name
        return (self.root / path).read_text(errors="replace") if program else ""

    @cached_property
    def _packages(self) -> dict[str, str]:
        """The folder of each package that has a Python file, by its dotted name."""
        found = {}
        for file in self.files:
            part, name, *inner = [*file.split("/"), ""]
            if file.endswith(".py") and name.startswith("nacelle_") and part != "tests":
                names = [name, *inner[:-2]]
                for depth in range(1, len(names) + 1):
                    found[".".join(names[:depth])] = "/".join([part, *names[:depth]])
        return found

    @cached_property
    def _helpers(self) -> dict[str, list[str]]:
        """The files of tests that are imported by their bare names."""
        found: dict[str, list[str]] = {}
        for file in self.files:
            if _of_tests(file) and file.endswith(".py") and not is_test(file):
                found.setdefault(Path(file).stem, []).append(file)
        found.pop("conftest", None)
        return found

    @cached_property
    def _roots(self) -> dict[str, set[str]]:
        """The folders that constants stand for: name -> folders."""
        found: dict[str, set[str]] = {}
        for file in self.files:
            if file.endswith(".py"):
                for climb in climbs(file, self.text(file), {}):
                    if climb.name:
                        found.setdefault(climb.name, set()).add(climb.place)
        return found

    def _leads_to(self, path: str) -> frozenset[str]:
        return frozenset(self._read_leads(path)) - {path}

    def _read_leads(self, path: str) -> Iterator[str]:
        text = self.text(path)
        if not text:
            return
        for climb in climbs(path, text, self._roots):
            if climb.name is None:
                yield from self._below(path, climb, text)
        for other in _OTHERS_PLACE.findall(text):
            for module, names in _FROM.findall(text):
                if re.search(rf"\b{other}\b", names):
                    yield from self._module(module.split(".")[0])
        text = _COMMAND.sub("", without_climbs(text))
        for module, names in _FROM.findall(text):
            for name in re.findall(r"\w+", names):
                yield from self._module(f"{module}.{name}", imported=True)
        for name in _OURS.findall(_FROM.sub("", text)):
            yield from self._module(name)
        yield from self._named_helpers(text)
        for place in _PATH.findall(text):
            yield from self.whole(place.strip("\"'/"))

    def _named_helpers(self, text: str) -> Iterator[str]:
        imported = {module.split(".")[0] for module, _ in _FROM.findall(text)}
        for names in _IMPORT.findall(text):
            imported |= {name.split()[0].split(".")[0] for name in names.split(",") if name.strip()}
        imported |= {name for pair in _SCRIPT.findall(text) for name in pair}
        for name in imported:
            yield from self._helpers.get(name, ())

    def _module(self, dotted: str, imported: bool = False) -> frozenset[str]:
        """The file of a module, or of its longest part that is one; all of a package.

        Where something is imported from a package that is no module, only its __init__.
        """
        names = dotted.split(".")
        if names[0] not in self._packages:
            return frozenset()
        top = self._packages[names[0]]
        found = {f for f in self.whole(top) if not f.endswith(".py")}
        for depth in range(len(names), 0, -1):
            place = "/".join([str(PurePosixPath(top).parent), *names[:depth]])
            if f"{place}.py" in self.files:
                found.add(f"{place}.py")
            elif ".".join(names[:depth]) in self._packages:
                if not imported or depth == len(names):
                    found |= self.whole(place)
            else:
                continue
            above = (f"{p}/__init__.py" for p in (place, *PurePosixPath(place).parents))
            return frozenset(found | self.files.intersection(above))
        return frozenset(found)

    def _below(self, path: str, climb: Climb, text: str) -> Set[str]:
        """What a path from `__file__` can stand for."""
        if climb.exact:
            return self.whole(climb.place)
        inside = PurePosixPath(climb.place)
        children = {PurePosixPath(f).relative_to(inside).parts[0] for f in self.whole(climb.place)}
        if climb.in_part:
            children = {c for c in children if re.search(rf"[\"'/]{re.escape(c)}[\"'/]", text)}
        found = {f for child in children for f in self.whole(str(inside / child))}
        # A module that reads what lies beside it reads no modules, unless it names their ending.
        if _of_tests(path) or ".py" in text or climb.place != str(Path(path).parent):
            return found
        return {f for f in found if not f.endswith(".py")}

    def _commands(self, path: str) -> set[tuple[str, str]]:
        return set(_COMMAND.findall(self.text(path)))

    def _said(self, path: str) -> set[str]:
        return set(_SAID.findall(self.text(path)))


def _of_tests(path: str) -> bool:
    return path.split("/")[0] == "tests"


def _walk(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _SKIPPED.fullmatch(name)]
        for name in files:
            if name != ".git":
                yield str((Path(folder) / name).relative_to(root))
