"""A GPU program as data: prebuilt kernels, and the launches that a step is made of.

rank<N>/launches.json holds one `LaunchList`. Nothing here needs a GPU, torch or a compiler.
"""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nacelle_engine.errors import CorruptBundle
from nacelle_engine.frozen import Frozen
from nacelle_engine.program.attention_library import BuiltLibrary

LAUNCHES: Final = "launches.json"
# What a plan calls the tensor that it gives.
PLAN_OUTPUT: Final = "output"
KERNEL_FOLDER: Final = "kernels"
# The largest step, but for those of one token a request, that may be captured in a CUDA graph.
CAPTURED_TOKENS: Final = 256

# What varies by step: T tokens, R requests, L rows of logits, Q tiles of queries (attention over
# prompts), W blocks of the widest table.
Symbol = Literal["T", "R", "L", "Q", "W"]
BufferDtype = Literal["bfloat16", "float8_e4m3fn", "float32", "int32"]
# fused: weights as stored times bfloat16 activations. block: FP8 times FP8, the activations kept
# with one scale per token and block of columns. quantised: FP8 times FP8, the activations quantised
# on the way.
NumericsClass = Literal["fused", "block", "quantised"]


class Size(Frozen):
    """ceil(symbol / divisor) * times; without a symbol just `times`."""

    symbol: Symbol | None = None
    divisor: int = 1
    times: int = 1

    def of(self, sizes: dict[Symbol, int]) -> int:
        """The number that it is in a step of these sizes."""
        if self.symbol is None:
            return self.times
        return -(-sizes[self.symbol] // self.divisor) * self.times


Grid = tuple[Size, Size, Size]
ONE: Final = Size()


class Buffer(Frozen):
    """A tensor of the workspace, made once for the largest step, of zeros; a step uses its first
    rows.
    """

    name: str
    dtype: BufferDtype
    shape: tuple[Size, ...]


class Binding(Frozen):
    """What an argument is: a buffer, a weight of the program, a step's input, state, or a size.

    state: "kv" (the layer's cache), "rope" (the table of positions of the layer's KV group).
    input: "block_table" is the one of the layer's KV group. output: "logits", float32 [L, V].
    size: a symbol as an int32. stream: "in" and "out", the residual stream before and after a layer
    that may not rewrite it: buffers x and y, which take turns; layer 0 reads x.
    """

    source: Literal["buffer", "weight", "input", "state", "size", "output", "stream"]
    name: str


class KernelFile(Frozen):
    """A compiled kernel: its cubin in the rank's folder, and how it is launched.

    arguments  Triton's types of the run-time arguments, in order: "*..." a pointer, else an int
    dependent  launched with programmatic stream serialisation: it waits for its predecessor itself
    """

    name: str
    file: str
    entry: str
    shared_bytes: int = Field(ge=0)
    warps: int = Field(ge=1)
    arguments: tuple[str, ...]
    dependent: bool = False


class KernelLaunch(Frozen):
    """One launch of a prebuilt kernel; a grid with a 0 in it is left out."""

    call: Literal["kernel"] = "kernel"
    kernel: str
    grid: Grid
    arguments: tuple[Binding, ...]


class MatmulLaunch(Frozen):
    """A library's FP8 product:
    out[t, n] = x_scale[t] * w_scale[n] * sum_k x[t, k] weight[n, k] + bias[n].

    x FP8 [T, K], weight FP8 [N, K], out bfloat16 [T, N]. Scales are float32: x_scale [T] with
    weight_scale [N], both [1], or none, which counts as 1. bias bfloat16 [N], where the linear has
    one.
    """

    call: Literal["scaled_mm"] = "scaled_mm"
    x: Binding
    weight: Binding
    out: Binding
    x_scale: Binding | None = None
    weight_scale: Binding | None = None
    bias: Binding | None = None


class LogitsLaunch(Frozen):
    """A library's product that gives logits: out[l, v] = sum_k x[l, k] weight[v, k].

    x bfloat16 [L, K], weight bfloat16 [V, K]; out float32 [L, V], summed and kept in float32.
    """

    call: Literal["logits_mm"] = "logits_mm"
    x: Binding
    weight: Binding
    out: Binding


class PagedAttentionLaunch(Frozen):
    """A prebuilt library's causal attention of ragged queries over the paged cache:
    out[t, h] = sum over p - window < i <= p of softmax_i(cap(scale * q[t, h] . k_i)) v_i, token t
    being at position p of its request.

    q bfloat16 [T, heads D], or FP8 with scale 1 where the library takes FP8 queries; kv
    [B, 2, kv_heads, 32, D], which holds the step's own K and V; kv_scales float32 [2] of an FP8
    cache: stored = value / scale; block_table int32 [R, W]; out bfloat16 [T, heads D].
    cap(x) = soft_cap * tanh(x / soft_cap), x itself where soft_cap is 0; window 0: all positions.
    Planned on the host, once a step: no graph may hold it.
    """

    call: Literal["paged_attention"] = "paged_attention"
    library: str
    q: Binding
    kv: Binding
    block_table: Binding
    out: Binding
    kv_scales: Binding | None = None
    scale: float
    soft_cap: float = 0.0
    window: int = 0


class PlanFile(Frozen):
    """A plan that TensorRT compiled, which all layers share: their weights are inputs of it.

    workspace_bytes  what it works in while it runs
    """

    name: str
    file: str
    workspace_bytes: int = Field(ge=0)


class PlanLaunch(Frozen):
    """A call of a plan: rows of tokens in, rows of tokens out, all as the plan names them.

    profile  which of the plan's ranges of tokens the step is of
    inputs   of T rows each; weights whole
    """

    call: Literal["plan"] = "plan"
    plan: str
    profile: int = Field(ge=0)
    inputs: dict[str, Binding]
    weights: dict[str, Binding]
    output: Binding


Launch = Annotated[
    KernelLaunch | MatmulLaunch | LogitsLaunch | PagedAttentionLaunch | PlanLaunch,
    Field(discriminator="call"),
]
Launches = tuple[Launch, ...]


class StepRange(Frozen):
    """The launches of steps with min_tokens <= T <= max_tokens: embed, and each kind of layer.

    decode            only for steps of exactly one token a request
    tokens_a_request  only for steps of at least so many tokens a request in the mean
    query_tile        tokens that a tile of queries covers (tiles.py); 0: no launch takes tiles
    """

    min_tokens: int = Field(ge=1)
    max_tokens: int
    decode: bool
    tokens_a_request: int = Field(default=1, ge=1)
    numerics: NumericsClass
    query_tile: int = 0
    embed: Launches
    kinds: dict[str, Launches]

    def takes(self, tokens: int, requests: int, *, decode: bool) -> bool:
        """Whether a step of so many tokens of so many requests is of this range."""
        within = self.min_tokens <= tokens <= self.max_tokens
        long_enough = tokens >= requests * self.tokens_a_request
        return within and long_enough and (decode or not self.decode)

    @property
    def planned(self) -> bool:
        """Whether launches of it are planned on the host: no graph may hold such a step."""
        every = (launch for launches in self.kinds.values() for launch in launches)
        return any(launch.call == "paged_attention" for launch in every)

    @model_validator(mode="after")
    def _planned_is_not_captured(self) -> Self:
        if self.planned and (self.decode or self.min_tokens <= CAPTURED_TOKENS):
            raise ValueError(
                f"paged_attention in steps of {self.min_tokens} tokens, decode {self.decode}: a "
                f"plan of the host is for steps above {CAPTURED_TOKENS} tokens that are no decode"
            )
        return self


class HeadRange(Frozen):
    """The launches that make logits of min_rows <= L <= max_rows rows."""

    min_rows: int = Field(ge=1)
    max_rows: int
    launches: Launches


class LaunchList(Frozen):
    """Everything that a step on a GPU consists of; the first range that fits a step is its own."""

    format_version: Literal[1] = 1
    kernels: tuple[KernelFile, ...]
    libraries: tuple[BuiltLibrary, ...] = ()
    plans: tuple[PlanFile, ...] = ()
    buffers: tuple[Buffer, ...]
    steps: tuple[StepRange, ...]
    heads: tuple[HeadRange, ...]

    def step_index(self, tokens: int, decode: bool, requests: int | None = None) -> int:
        """Which of `steps` a step of so many tokens is; decode: one token a request.

        requests: how many share the tokens; None: as many as there are tokens.
        """
        shared = tokens if requests is None else requests
        return next(
            index
            for index, one in enumerate(self.steps)
            if one.takes(tokens, shared, decode=decode)
        )

    def head_index(self, rows: int) -> int:
        """Which of `heads` makes so many rows of logits."""
        return next(
            index for index, one in enumerate(self.heads) if one.min_rows <= rows <= one.max_rows
        )


def read_launches(rank: Path) -> LaunchList:
    """The launch list in a rank's folder; CorruptBundle names the file and field."""
    path = rank / LAUNCHES
    try:
        return LaunchList.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CorruptBundle(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CorruptBundle(f"{path}: field {where}: {first['msg']}") from error
