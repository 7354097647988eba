"""A prebuilt FlashInfer library as data: what a launch list says of one, and which there can be.

Nothing here needs a GPU, torch or a compiler.
"""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from nacelle_engine.frozen import Frozen

# decode: one query a request, on CUDA cores. fa2, fa3: any number of queries a request, on tensor
# cores; fa3 for sm_90 alone. All three read the same cache, so which one runs is a tactic.
Algorithm = Literal["decode", "fa2", "fa3"]
KvDtype = Literal["bfloat16", "float8_e4m3fn"]

ALGORITHMS: Final[tuple[Algorithm, ...]] = ("decode", "fa2", "fa3")
HEAD_DIMS: Final = (64, 128, 256)
# Query heads a KV head that the CUDA cores' kernel is written for.
DECODE_GROUPS: Final = (1, 2, 3, 4, 6, 8, 16)


class AttentionLibrary(Frozen):
    """One library: its file in the rank's folder, and the one case that it was compiled for.

    Keys and values lie in [blocks, 2, kv_heads, 32, head_dim], K at index 0; the attention is
    causal, a request's queries being the last tokens of its sequence. Outputs are bfloat16.
    """

    name: str
    file: str
    algorithm: Algorithm
    head_dim: Literal[64, 128, 256]
    group_size: int = Field(ge=1)
    """Query heads a KV head."""
    kv_dtype: KvDtype
    sliding_window: bool = False
    soft_cap: bool = False

    @property
    def query_dtype(self) -> KvDtype:
        """The type of the queries: FP8 where FlashAttention 3 reads an FP8 cache, else bfloat16."""
        return self.kv_dtype if self.algorithm == "fa3" else "bfloat16"

    @model_validator(mode="after")
    def _exists(self) -> Self:
        reason = refusal(
            self.algorithm, self.head_dim, self.group_size, self.kv_dtype, self.soft_cap
        )
        if reason:
            raise ValueError(reason)
        return self


class BuiltLibrary(Frozen):
    """A library as it lies in a rank's folder; abi: what it was linked with (library_abi.py)."""

    library: AttentionLibrary
    abi: str


def refusal(
    algorithm: Algorithm, head_dim: int, group_size: int, kv_dtype: KvDtype, soft_cap: bool
) -> str | None:
    """Why FlashInfer has no such kernel, or None where it has."""
    if head_dim not in HEAD_DIMS:
        return f"head_dim {head_dim}: FlashInfer's kernels exist for 64, 128 and 256"
    if algorithm == "decode" and group_size not in DECODE_GROUPS:
        known = ", ".join(map(str, DECODE_GROUPS))
        return f"group_size {group_size}: decode on CUDA cores exists for {known}"
    if algorithm == "fa3" and kv_dtype == "float8_e4m3fn" and soft_cap:
        return "soft_cap: FlashAttention 3 with an FP8 cache has no soft cap; fa2 has"
    return None
