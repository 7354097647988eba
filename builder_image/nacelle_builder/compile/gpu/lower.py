"""The launch list of a model: which kernels and library calls a step of each size consists of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nacelle_builder.compile.gpu.bindings import launch_of, matmul
from nacelle_builder.compile.gpu.place import (
    Candidate,
    Chosen,
    LibraryCall,
    kernels_of,
    libraries_of,
)
from nacelle_builder.compile.gpu.places import raw_products
from nacelle_builder.compile.gpu.prompt_attention import TOKENS_A_REQUEST
from nacelle_builder.numerics import StepClasses, quantises, step_classes
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.ops.gpu.block_scales import COLUMNS, MOST_TOKENS
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.precision import QuantizationAlgorithm
from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.program.launch import (
    CAPTURED_TOKENS,
    Buffer,
    BufferDtype,
    HeadRange,
    KernelLaunch,
    Launch,
    Launches,
    NumericsClass,
    Size,
    StepRange,
)
from nacelle_engine.recipe import Recipe


@dataclass(frozen=True)
class Lowered:
    """A launch list whose kernels and libraries are not compiled yet."""

    kernels: tuple[Kernel, ...]
    libraries: tuple[AttentionLibrary, ...]
    buffers: tuple[Buffer, ...]
    steps: tuple[StepRange, ...]
    heads: tuple[HeadRange, ...]


class Plan:
    """The candidate chosen for each place, found by a step's size."""

    def __init__(
        self,
        chosen: Sequence[Chosen],
        *,
        static: bool,
        raw: Callable[[int], bool],
        biased: frozenset[str],
    ) -> None:
        """static: linears' inputs have static scales; raw: whether products in steps of that size
        are scaled by who reads them; biased: the linears that have a bias.
        """
        self._chosen = chosen
        self.static = static
        self.raw = raw
        self.biased = biased

    def of_kind(self, kind: str) -> "Plan":
        """The part of it that layers of a kind take."""
        mine = [one for one in self._chosen if one.place.kind in (None, kind)]
        return Plan(mine, static=self.static, raw=self.raw, biased=self.biased)

    def at(self, name: str, size: int) -> Candidate:
        """What was chosen at a place for steps of that size."""
        return next(self._at(name, size))

    def launch(self, name: str, size: int) -> Launch:
        """The launch at a place."""
        return launch_of(name, self.at(name, size).kernel)

    def maybe(self, name: str, size: int) -> Launches:
        """The launch at a place; none where the model has no such place."""
        return tuple(launch_of(name, candidate.kernel) for candidate in self._at(name, size))

    def _at(self, name: str, size: int) -> Iterator[Candidate]:
        return (
            one.candidate
            for one in self._chosen
            if one.place.name == name and one.place.first <= size <= one.place.last
        )

    def matmul(self, codes: str, name: str, out: str, size: int = 0) -> Launch:
        """The library's product at a place; size: of the step, where its reader can scale it."""
        raw = size > 0 and self.raw(size)
        return matmul(codes, name, out, static=self.static, raw=raw, bias=name in self.biased)

    def ends(self, *names: str) -> list[int]:
        """Where the choice at one of these places changes: the last sizes, ascending."""
        return sorted({one.place.last for one in self._chosen if one.place.name in names})

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """All that was chosen."""
        return tuple(one.candidate for one in self._chosen)


# Each kind of layer's program, and what was chosen for it.
Kinds = Mapping[str, Plan]


def lower(spec: ModelSpec, recipe: Recipe, chosen: Sequence[Chosen]) -> Lowered:
    """The launches of every size of step that the recipe's limits allow."""
    biases = {"qkv": spec.qkv_bias, "dense": spec.dense_bias}
    plan = Plan(
        chosen,
        static=recipe.quantization.algorithm == QuantizationAlgorithm.FP8,
        raw=lambda size: raw_products(spec, recipe, size),
        biased=frozenset(name for name, has in biases.items() if has),
    )
    limits = recipe.limits
    classes = step_classes(spec, recipe)
    kinds = {f"layer.{kind.name}": plan.of_kind(kind.name) for kind in spec.kinds}
    any_step = plan.ends("qkv", "act_quantise")
    steps = _steps(plan, kinds, classes, _Which(any_step, limits.max_num_tokens))
    if ends := plan.ends("prompt_attention"):
        which = _Which([*ends, *any_step], limits.max_num_tokens, prompts=True)
        steps = _steps(plan, kinds, classes, which) + steps
    if ends := plan.ends("decode_attention", "block_attention"):
        ends = sorted({*ends, *plan.ends("block_qkv", "static_gate_up"), *any_step})
        which = _Which(ends, limits.max_batch_size, decode=True)
        steps = _steps(plan, kinds, classes, which) + steps
    heads = [
        HeadRange(
            min_rows=one.place.first,
            max_rows=one.place.last,
            launches=(plan.launch("logits", one.place.last),),
        )
        for one in chosen
        if one.place.name == "logits"
    ]
    libraries = libraries_of(plan.candidates)
    buffers = _buffers(spec, recipe, plan)
    return Lowered(_launched(plan, steps, heads), libraries, buffers, tuple(steps), tuple(heads))


@dataclass(frozen=True)
class _Which:
    """Which steps ranges are made for: up to `limit` tokens, where a choice changes at `ends`.

    decode   one token a request
    prompts  long stretches of few requests, in steps that no graph holds
    """

    ends: Sequence[int]
    limit: int
    decode: bool = False
    prompts: bool = False

    def ranges(self) -> Iterator[tuple[int, int]]:
        """(first, last) of each range."""
        first = CAPTURED_TOKENS + 1 if self.prompts else 1
        for end in sorted({min(end, self.limit) for end in (*self.ends, self.limit)}):
            if end >= first:
                yield first, end
                first = end + 1


def _launched(
    plan: Plan, steps: Sequence[StepRange], heads: Sequence[HeadRange]
) -> tuple[Kernel, ...]:
    """The kernels that are launched: where a library does a place's work, what leads to it is."""
    lists = [layer for step in steps for layer in (step.embed, *step.kinds.values())]
    lists += [head.launches for head in heads]
    used = {one.kernel for made in lists for one in made if isinstance(one, KernelLaunch)}
    kernels = kernels_of(plan.candidates)
    return tuple(kernel for name, kernel in kernels.items() if name in used)


def _steps(plan: Plan, kinds: Kinds, classes: StepClasses, which: _Which) -> list[StepRange]:
    return [_step(plan, kinds, first, last, classes, which) for first, last in which.ranges()]


def _step(
    plan: Plan, kinds: Kinds, first: int, last: int, classes: StepClasses, which: _Which
) -> StepRange:
    numerics = classes.of(last, decode=which.decode)
    embed = [plan.launch("embed", last)]
    if numerics == "block":
        embed.append(plan.launch("block_input", last))
    if numerics == "quantised":
        embed.append(plan.launch("first_quantise", last))
    return StepRange(
        min_tokens=first,
        max_tokens=last,
        decode=which.decode,
        tokens_a_request=TOKENS_A_REQUEST if which.prompts else 1,
        numerics=numerics,
        query_tile=0 if which.decode else max(_query_tiles(kinds, last, which)),
        embed=tuple(embed),
        kinds={name: _layer(mine, last, numerics, which) for name, mine in kinds.items()},
    )


def _query_tiles(kinds: Kinds, size: int, which: _Which) -> Iterator[int]:
    """What each kind plans with: a library has no tiles, and all others have the same."""
    for mine in kinds.values():
        prompts = mine.maybe("prompt_attention", size) if which.prompts else ()
        yield mine.at("prompt_attention" if prompts else "prefill_attention", size).query_tile


_Attention = Callable[[Plan, int], Launches]


def _layer(plan: Plan, size: int, numerics: NumericsClass, which: _Which) -> Launches:
    if numerics == "block":
        return _block_layer(plan, size)
    if which.decode and numerics == "quantised" and plan.static:
        return _static_layer(plan, size)
    attention = _decode_attention if which.decode else _ragged_attention
    if which.prompts and plan.maybe("prompt_attention", size):
        attention = _prompt_attention
    whole = _fused_layer if numerics == "fused" else _quantised_layer
    return whole(plan, size, attention)


def _decode_attention(plan: Plan, size: int) -> Launches:
    return (plan.launch("decode_attention", size),)


def _ragged_attention(plan: Plan, size: int) -> Launches:
    return plan.launch("rope_append", size), plan.launch("prefill_attention", size)


def _prompt_attention(plan: Plan, size: int) -> Launches:
    call = plan.at("prompt_attention", size).kernel
    quantised = isinstance(call, LibraryCall) and call.fp8_queries
    append = "rope_quantise" if quantised else "rope_append"
    return plan.launch(append, size), plan.launch("prompt_attention", size)


def _fused_layer(plan: Plan, size: int, attention: _Attention) -> Launches:
    return (
        plan.launch("qkv", size),
        *attention(plan, size),
        plan.launch("dense", size),
        *plan.maybe("attention_residual", size),
        plan.launch("gate_up", size),
        plan.launch("down", size),
        *plan.maybe("mlp_residual", size),
    )


def _block_layer(plan: Plan, size: int) -> Launches:
    names = ("block_qkv", "block_attention", "block_dense", "block_gate_up", "block_down")
    return tuple(plan.launch(name, size) for name in names)


def _quantised_layer(plan: Plan, size: int, attention: _Attention) -> Launches:
    return (
        plan.matmul("hidden_codes", "qkv", "qkv"),
        *attention(plan, size),
        plan.launch("attention_quantise", size),
        plan.matmul("attention_codes", "dense", "delta", size),
        *plan.maybe("attention_residual", size),
        plan.launch("post_quantise", size),
        plan.matmul("hidden_codes", "gate_up", "gate_up", size),
        plan.launch("act_quantise", size),
        plan.matmul("inner_codes", "down", "delta", size),
        *plan.maybe("mlp_residual", size),
        plan.launch("next_quantise", size),
    )


def _static_layer(plan: Plan, size: int) -> Launches:
    """A decode step with static scales: what makes a linear's input writes its codes itself."""
    return (
        plan.matmul("hidden_codes", "qkv", "qkv"),
        *_decode_attention(plan, size),
        plan.matmul("attention_codes", "dense", "delta"),
        *plan.maybe("attention_residual", size),
        plan.launch("post_quantise", size),
        *_static_gate_up(plan, size),
        plan.matmul("inner_codes", "down", "delta"),
        *plan.maybe("mlp_residual", size),
        plan.launch("next_quantise", size),
    )


def _static_gate_up(plan: Plan, size: int) -> Launches:
    """One launch; two where the hidden size suits no kernel of ours."""
    return plan.maybe("static_gate_up", size) or (
        plan.matmul("hidden_codes", "gate_up", "gate_up"),
        plan.launch("act_quantise", size),
    )


def _buffers(spec: ModelSpec, recipe: Recipe, plan: Plan) -> tuple[Buffer, ...]:
    tokens, classes = Size(symbol="T"), step_classes(spec, recipe)
    quantising = quantises(spec, recipe)
    made = [
        _buffer("x", "bfloat16", tokens, spec.hidden_size),
        _buffer("qkv", "bfloat16", tokens, spec.q_size + 2 * spec.kv_size),
        _buffer("q", "bfloat16", tokens, spec.q_size),
        _buffer("attention", "bfloat16", tokens, spec.q_size),
        _buffer("inner", "bfloat16", Size(times=classes.fused), spec.intermediate_size),
    ]
    if any(library.query_dtype != "bfloat16" for library in libraries_of(plan.candidates)):
        made.append(_buffer("q_codes", "float8_e4m3fn", tokens, spec.q_size))
    if quantising or spec.output_norms:
        made.append(_buffer("delta", "bfloat16", tokens, spec.hidden_size))
    if quantising:
        made.append(_buffer("gate_up", "bfloat16", tokens, 2 * spec.intermediate_size))
        if not plan.static:
            made.append(_buffer("row_scale", "float32", tokens))
    if quantising or classes.block:
        made += [
            _buffer("hidden_codes", "float8_e4m3fn", tokens, spec.hidden_size),
            _buffer("attention_codes", "float8_e4m3fn", tokens, spec.q_size),
            _buffer("inner_codes", "float8_e4m3fn", tokens, spec.intermediate_size),
        ]
    if classes.block:
        hidden_blocks = Size(times=spec.hidden_size // COLUMNS)
        inner_blocks = Size(times=spec.intermediate_size // COLUMNS)
        made += [
            _buffer("x_scales", "float32", hidden_blocks, MOST_TOKENS),
            _buffer("x_squares", "float32", hidden_blocks, MOST_TOKENS),
            _buffer("attention_scales", "float32", Size(times=spec.num_kv_heads), MOST_TOKENS),
            _buffer("inner_scales", "float32", inner_blocks, MOST_TOKENS),
        ]
    if partial := max(candidate.partial for candidate in plan.candidates):
        made.append(_buffer("partial", "float32", Size(times=partial)))
    if counters := max(candidate.counters for candidate in plan.candidates):
        made.append(_buffer("counters", "int32", Size(times=counters)))
    return tuple(made)


def _buffer(name: str, dtype: BufferDtype, first: Size, *rest: int) -> Buffer:
    return Buffer(name=name, dtype=dtype, shape=(first, *(Size(times=size) for size in rest)))
