"""Attention over prompts by a prebuilt library: which layers may have it, and its places."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from nacelle_builder.compile.gpu.attention import attention_shape, prefill_candidates
from nacelle_builder.compile.gpu.flashinfer_library import Kit, attention_library, find_kit
from nacelle_builder.compile.gpu.library_store import LibraryStore
from nacelle_builder.compile.gpu.place import Candidate, LibraryCall, Place, invariant
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed
from nacelle_engine.model.spec import LayerKind, ModelSpec
from nacelle_engine.ops.gpu import rope_append
from nacelle_engine.program.attention_library import AttentionLibrary, KvDtype, refusal
from nacelle_engine.program.launch import CAPTURED_TOKENS
from nacelle_engine.recipe import Recipe

# FlashAttention 3's tile of queries, of one head: requests with fewer leave the rest of a tile idle
# (a step of 128 tokens of decode beside a prompt would take four times our own kernel's products).
TOKENS_A_REQUEST: Final = 128
# Where the choice may change: few prompts do not fill the device.
_ENDS: Final = (1024,)


# Puts libraries' files into a rank's folder.
Put = Callable[[Sequence[AttentionLibrary], Path], None]


def put_none(libraries: Sequence[AttentionLibrary], rank: Path) -> None:
    """For a program that calls no library."""
    assert not libraries, f"nothing compiles {libraries} into {rank}"


@dataclass(frozen=True)
class Offer:
    """The library for each kind of layer that may have one; reasons: why others have none."""

    libraries: Mapping[str, AttentionLibrary]
    kit: Kit | None
    reasons: tuple[str, ...]

    @property
    def abi(self) -> str:
        """What the libraries are linked with; nothing where there are none."""
        return self.kit.abi if self.kit else ""

    def compiler(self, architecture: Architecture, kept: Path) -> Put:
        """What puts the libraries into a folder; `kept`: those that are compiled already."""
        return LibraryStore(kept, architecture, self.kit).put if self.kit else put_none

    def told(self, chosen: Collection[AttentionLibrary]) -> str:
        """One line for tactics.json and the build's log: what became of the offer."""
        offered = dict.fromkeys(self.libraries.values())
        lines = [
            f"{one.name} {'serves' if one in chosen else 'is not the quickest, or was not timed'}"
            for one in offered
        ]
        return "; ".join((*lines, *self.reasons))


def offer(spec: ModelSpec, recipe: Recipe, find: Callable[[], Kit] = find_kit) -> Offer:
    """What this model's layers may have here; `find`: the compiler and headers of this machine."""
    libraries: dict[str, AttentionLibrary] = {}
    reasons = []
    for kind in spec.kinds:
        reason = refused(spec, kind, recipe)
        if reason is None:
            libraries[kind.name] = attention_library(attention_shape(spec, kind, recipe), "fa3")
        else:
            reasons.append(f"our own kernels alone for {kind.name} layers: {reason}")
    if not libraries:
        return Offer({}, None, tuple(reasons))
    try:
        return Offer(libraries, find(), tuple(reasons))
    except CompileFailed as error:
        return Offer({}, None, (f"our own kernels alone: {error}",))


def refused(spec: ModelSpec, kind: LayerKind, recipe: Recipe) -> str | None:
    """Why layers of a kind keep our own kernels; None where FlashAttention 3 may serve them."""
    shape = attention_shape(spec, kind, recipe)
    kv_dtype: KvDtype = "float8_e4m3fn" if shape.fp8 else "bfloat16"
    capped = shape.soft_cap > 0
    checks = (
        (
            recipe.architecture != Architecture.SM_90,
            f"FlashAttention 3 is for sm_90, the target is {recipe.architecture}",
        ),
        (invariant(recipe), "BatchInvariant: its tiles and sums follow the batch"),
        (
            recipe.limits.max_num_tokens <= CAPTURED_TOKENS,
            f"no step is above the {CAPTURED_TOKENS} tokens that graphs may hold",
        ),
        # Queries are rounded to E4M3 as they are, without a scale: a bias can lead beyond 448.
        (shape.fp8 and spec.qkv_bias, "an FP8 cache needs FP8 queries, which a bias may exceed"),
    )
    own = next((reason for holds, reason in checks if holds), None)
    return own or refusal("fa3", shape.head_dim, shape.group, kv_dtype, capped)


def prompt_places(
    spec: ModelSpec, kind: LayerKind, recipe: Recipe, library: AttentionLibrary
) -> list[Place]:
    """Places of steps of prompts: attention, and rope where the library reads FP8 queries."""
    shape = attention_shape(spec, kind, recipe)
    call = LibraryCall(library, shape)
    candidates = (*prefill_candidates(spec, shape, recipe), Candidate(call))
    limit = recipe.limits.max_num_tokens
    ends = [CAPTURED_TOKENS, *(end for end in _ENDS if end < limit), limit]
    made = [
        Place("prompt_attention", before + 1, end, candidates, kind.name)
        for before, end in pairwise(ends)
    ]
    if call.fp8_queries:
        kernels = [
            rope_append.kernel(shape, choice, fp8_queries=True)
            for choice in rope_append.choices(shape)
        ]
        append = tuple(Candidate(kernel) for kernel in kernels)
        made.append(Place("rope_quantise", CAPTURED_TOKENS + 1, limit, append, kind.name))
    return made
