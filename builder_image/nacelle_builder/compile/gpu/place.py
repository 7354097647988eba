"""A place of a GPU's program where a kernel stands, and what could serve it there."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.precision import Determinism
from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.recipe import Recipe

# Sizes of steps (and of batches, and of rows of logits) that kernels are chosen for.
_ENDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class LibraryCall:
    """Attention by a prebuilt library instead of a kernel, for layers of this shape."""

    library: AttentionLibrary
    shape: AttentionShape

    @property
    def name(self) -> str:
        """Unique among the kernels of an engine."""
        return self.library.name

    @property
    def fp8_queries(self) -> bool:
        """Whether it reads its queries in FP8."""
        return self.library.query_dtype != "bfloat16"


@dataclass(frozen=True)
class HeadProduct:
    """The library's product that gives logits, after the kernel that gathers and norms its rows."""

    rows: Kernel

    @property
    def name(self) -> str:
        """Unique among the kernels of an engine."""
        return f"library_after_{self.rows.name}"


@dataclass(frozen=True)
class Candidate:
    """One kernel for a place, or a library's call, and what it needs beside it.

    query_tile  tokens a tile of queries covers, for attention over prompts
    partial     float32 elements of workspace
    counters    int32 elements of workspace that are 0 between launches
    """

    kernel: Kernel | LibraryCall | HeadProduct
    query_tile: int = 0
    partial: int = 0
    counters: int = 0


def tiled(
    op: Any, shape: Any, rows: int, size: int, architecture: Architecture
) -> tuple[Candidate, ...]:
    """A linear op's candidates for steps of `size`; `rows` counts the weight's."""
    made = []
    for tiling in op.choices(shape, size, architecture):
        partial, counters = tiling.slots(rows, size)
        made.append(Candidate(op.kernel(shape, tiling), partial=partial, counters=counters))
    return tuple(made)


@dataclass(frozen=True)
class Place:
    """A place of the program for steps of first to last tokens (or rows); the safe kernel first.

    kind  the kind of layer that it is for; none where all kinds share it
    """

    name: str
    first: int
    last: int
    candidates: tuple[Candidate, ...]
    kind: str | None = None

    @property
    def label(self) -> str:
        """Its name, with a kind that is not every model's."""
        return self.name if self.kind in (None, "full") else f"{self.name} ({self.kind})"


def kernels_of(candidates: Iterable[Candidate]) -> dict[str, Kernel]:
    """The kernels that they launch, by name."""
    made = (candidate.kernel for candidate in candidates)
    own = (one.rows if isinstance(one, HeadProduct) else one for one in made)
    return {one.name: one for one in own if isinstance(one, Kernel)}


def libraries_of(candidates: Iterable[Candidate]) -> tuple[AttentionLibrary, ...]:
    """The libraries among them, each once."""
    made = (candidate.kernel for candidate in candidates)
    return tuple(dict.fromkeys(one.library for one in made if isinstance(one, LibraryCall)))


@dataclass(frozen=True)
class Chosen:
    """A place and the candidate that serves it."""

    place: Place
    candidate: Candidate


def ranges(limit: int, *, last: int = _ENDS[-1]) -> tuple[tuple[int, int], ...]:
    """(first, last) of ranges that cover 1 to `limit` without a gap, finer for smaller steps."""
    ends = [end for end in _ENDS if end < min(limit, last)] + [limit]
    return tuple((before + 1, end) for before, end in pairwise([0, *ends]))


def invariant(recipe: Recipe) -> bool:
    """True where every step must compute a token alike."""
    return recipe.determinism == Determinism.BATCH_INVARIANT


def step_ranges(
    recipe: Recipe, limit: int, *, last: int = _ENDS[-1]
) -> tuple[tuple[int, int], ...]:
    """The ranges of a recipe's steps (or rows of logits): one where it is BatchInvariant."""
    return ((1, limit),) if invariant(recipe) else ranges(limit, last=last)
