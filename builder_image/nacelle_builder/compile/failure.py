"""What a compiler's end means: most often the program, sometimes the machine's disk or memory."""

from collections.abc import Sequence
from typing import Final

from nacelle_engine.errors import CompileFailed, NacelleError, OutOfMemory, StoreUnavailable

# As the C library, g++ and nvcc put it; without these words a compiler that fails has its reasons.
_TEXTS: Final[dict[str, type[NacelleError]]] = {
    "No space left on device": StoreUnavailable,
    "Disk quota exceeded": StoreUnavailable,
    "Killed signal terminated program": OutOfMemory,
    "Cannot allocate memory": OutOfMemory,
    "virtual memory exhausted": OutOfMemory,
}


def compile_failure(what: str, said: Sequence[str], last: int = 1) -> NacelleError:
    """The error to raise for a compiler that said these lines; its message has the last ones."""
    for text, kind in _TEXTS.items():
        for line in said:
            if text in line:
                return kind(f"{what}: {line.strip()}")
    return CompileFailed(f"{what}: {' | '.join(line.strip() for line in said[-last:])}")
