"""Paths that a Python file makes from its own place: `Path(__file__).parents[2] / "a" / "b"`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

_PARTS = r"(?P<parts>(?:\s*/\s*[\"'][^\"'\n]+[\"'])*)"
_CLIMB = re.compile(
    r"(?:^(?P<name>\w+)(?::[^=\n]+)?\s*=\s*)?(?:\w+\()*(?<!\.)\b__file__\)?(?:\.resolve\(\))?"
    r"(?:\.parents\[(?P<up>\d)\]|(?P<parents>(?:\.parent\b)+)"
    r"|\.with_name\([\"'](?P<beside>[^\"']+)[\"']\))"
    rf"{_PARTS}(?P<end>[ )]*$)?",
    re.MULTILINE,
)
_FROM = re.compile(r"\bfrom\s+[\w.]+\s+import\s+(\([^)]*\)|[^\n]+)")


@dataclass(frozen=True)
class Climb:
    """A path of the checkout; in part: a folder of which only what the text names is looked at."""

    place: str
    exact: bool
    in_part: bool = False
    # The constant that stands for it from here on.
    name: str | None = None


def climbs(path: str, text: str, roots: Mapping[str, set[str]]) -> Iterator[Climb]:
    """All in the text of a file; roots: the folders that other files' constants stand for."""
    own: dict[str, set[str]] = {}
    for found in _matches(text):
        place = _place(path, found)
        if found["beside"] or found["parts"]:
            yield Climb(_joined(place, found["parts"]), exact=True)
        elif found["name"] and found["end"] is not None:
            own[found["name"]] = {place}
            yield Climb(place, exact=True, name=found["name"])
        else:
            yield Climb(place, exact=False, in_part=_in_part(text, found))
    names = [name for name in {**roots, **own} if name in text]
    if not names:
        return
    rest = _CLIMB.sub("", text) if own else text
    uses = _FROM.sub("", rest)
    imported = " ".join(_FROM.findall(rest))
    for name in names:
        known = name in own or re.search(rf"\b{name}\b", imported) or f".{name}" in text
        found_uses = list(re.finditer(rf"\b{name}\b{_PARTS}", uses)) if known else []
        for place in own.get(name) or roots[name]:
            if name in own and not found_uses:
                yield Climb(place, exact=False)
            for use in found_uses:
                part = _in_part(uses, use)
                yield Climb(_joined(place, use["parts"]), exact=bool(use["parts"]), in_part=part)


def without_climbs(text: str) -> str:
    """The text without those parts: what they name is a folder, not a package."""
    if not (found := list(_matches(text))):
        return text
    roots = [one["name"] for one in found if one["name"]]
    rest = _CLIMB.sub("", text)
    for name in roots:
        rest = re.sub(rf"\b{name}\b{_PARTS}", "", rest)
    return rest


def _in_part(text: str, found: re.Match[str]) -> bool:
    """Whether a folder is only joined with a name that stands elsewhere, or not opened at all."""
    joined = re.match(r"\s*/\s*\w|\.name\b", text[found.end() :])
    return bool(joined) or text[: found.start()].endswith("relative_to(")


def _matches(text: str) -> Iterator[re.Match[str]]:
    return _CLIMB.finditer(text) if "__file__" in text else iter(())


def _place(path: str, found: re.Match[str]) -> str:
    parents = PurePosixPath(path).parents
    up = int(found["up"] or max((found["parents"] or "").count(".") - 1, 0))
    folder = parents[min(up, len(parents) - 1)]
    return str(folder / found["beside"]) if found["beside"] else str(folder)


def _joined(place: str, parts: str) -> str:
    names = re.findall(r"[\"']([^\"']+)[\"']", parts)
    return str(PurePosixPath(place, *names))
