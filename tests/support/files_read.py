"""What the tests' process itself reads of the checkout while a test file is collected and run.

Processes that tests start are not seen, but the paths that they are given are.
"""

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR


class FilesRead:
    """Paths below a root, by the test file that was at work when they were opened."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root}{os.sep}"
        self._by_test: dict[str, set[str]] = {}
        self.at_work: str | None = None
        sys.addaudithook(self._heard)

    def take(self, test: str) -> list[str]:
        """What was read since it was asked last."""
        return sorted(self._by_test.pop(test, ()))

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.at_work is None:
            return
        if event == "open":
            path, _, flags = arguments
            if not (isinstance(flags, int) and flags & _WRITES):
                self._note(path)
        elif event == "subprocess.Popen":
            for path in arguments[1] or ():
                self._note(path)

    def _note(self, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        text = os.fsdecode(path)
        if text.startswith(self._root) and self.at_work is not None and not _is_hypothesis():
            place = _source(Path(text.removeprefix(self._root)))
            self._by_test.setdefault(self.at_work, set()).add(os.path.normpath(place))


def _source(path: Path) -> Path:
    if path.suffix == ".pyc" and path.parent.name == "__pycache__":
        return path.parent.parent / f"{path.name.split('.')[0]}.py"
    return path


def _is_hypothesis() -> bool:
    """It reads all modules that are loaded by then, for constants to begin with."""
    frame: FrameType | None = sys._getframe(3)
    while frame:
        if frame.f_code.co_filename.endswith("hypothesis/internal/constants_ast.py"):
            return True
        frame = frame.f_back
    return False
