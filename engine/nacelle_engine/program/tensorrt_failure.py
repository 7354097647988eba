"""TensorRT's error lines as one error of ours.

It reports by lines of its log, and where a library is missing it ends the process: so whoever runs
it keeps the lines and asks here what they mean. The first pattern that a line has decides.
"""

import re
from collections.abc import Sequence
from typing import Final

from nacelle_engine.errors import AbiMismatch, CompileFailed, NacelleError, OutOfMemory

_LIBRARY: Final = re.compile(r"Unable to load library: (?P<library>[^:\s]+)")
_SHARED: Final = re.compile(r"(?P<library>lib\S+\.so\S*): cannot open shared object file")
_VERSION: Final = re.compile(
    r"not compatible with this version of TensorRT, expecting library version (?P<here>\S+)"
    r"(?: got (?P<made>[^\s,]+))?"
)
_CAPABILITY: Final = re.compile(r"compute capability")
_MEMORY: Final = re.compile(
    r"out of memory|OutOfMemory|insufficient memory|MEM_ALLOC_FAILED", re.IGNORECASE
)
_NODE: Final = re.compile(r"Could not find any implementation for node (?P<node>[^\n]+)")
_MOST_CHARACTERS: Final = 400


def failure(what: str, lines: Sequence[str]) -> NacelleError:
    """The error that lines of TensorRT's log stand for; `what` was being done."""
    for line in lines:
        if error := _known(what, line):
            return error
    last = " | ".join(line.strip() for line in lines if line.strip())[-_MOST_CHARACTERS:]
    return CompileFailed(f"{what}: TensorRT failed: {last or 'it left no line in its log'}")


def _known(what: str, line: str) -> NacelleError | None:
    if found := _LIBRARY.search(line) or _SHARED.search(line):
        return AbiMismatch(
            f"{what}: TensorRT's library {found['library']} is missing or cannot be loaded: its "
            "installation is incomplete"
        )
    if found := _VERSION.search(line):
        made = f" {found['made']}" if found["made"] else " another version"
        return AbiMismatch(
            f"{what}: the plan was made by TensorRT{made}, this is {found['here'].rstrip(',')}: "
            "rebuild the engine"
        )
    if _MEMORY.search(line):
        return OutOfMemory(f"{what}: TensorRT ran out of memory: {_short(line)}")
    if found := _NODE.search(line):
        return CompileFailed(
            f"{what}: TensorRT has no implementation for the node {_short(found['node'])}"
        )
    return None


def _short(text: str) -> str:
    return text.strip()[:_MOST_CHARACTERS]
