"""The launch list of a model: which kernels and library calls a step of each size consists of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nacelle_builder.compile.gpu.buffers import buffers
from nacelle_builder.compile.gpu.layer_launches import Linears, own_linears
from nacelle_builder.compile.gpu.place import (
    Chosen,
    kernels_of,
    libraries_of,
)
from nacelle_builder.compile.gpu.places import raw_products
from nacelle_builder.compile.gpu.plan import Plan
from nacelle_builder.compile.gpu.prompt_attention import TOKENS_A_REQUEST
from nacelle_builder.numerics import StepClasses, step_classes
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.precision import QuantizationAlgorithm
from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.program.launch import (
    CAPTURED_TOKENS,
    Buffer,
    HeadRange,
    KernelLaunch,
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


# Each kind of layer's program, and what was chosen for it.
Kinds = Mapping[str, Plan]


def plan_of(spec: ModelSpec, recipe: Recipe, chosen: Sequence[Chosen]) -> Plan:
    """What was chosen, found by place and size."""
    biases = {"qkv": spec.qkv_bias, "dense": spec.dense_bias}
    return Plan(
        chosen,
        static=recipe.quantization.algorithm == QuantizationAlgorithm.FP8,
        raw=lambda size: raw_products(spec, recipe, size),
        biased=frozenset(name for name, has in biases.items() if has),
    )


def lower(
    spec: ModelSpec,
    recipe: Recipe,
    chosen: Sequence[Chosen],
    linears: Callable[[Plan], Linears] = own_linears,
) -> Lowered:
    """The launches of every size of step that the recipe's limits allow.

    linears: what the layers consist of beside attention.
    """
    plan = plan_of(spec, recipe, chosen)
    limits = recipe.limits
    classes = step_classes(spec, recipe)
    made = linears(plan)
    kinds = {f"layer.{kind.name}": plan.of_kind(kind.name) for kind in spec.kinds}
    any_step = made.ends
    steps = _steps(kinds, classes, made, _Which(any_step, limits.max_num_tokens))
    if ends := plan.ends("prompt_attention"):
        which = _Which([*ends, *any_step], limits.max_num_tokens, prompts=True)
        steps = _steps(kinds, classes, made, which) + steps
    if ends := plan.ends("decode_attention", "block_attention"):
        ends = sorted({*ends, *plan.ends("block_qkv", "static_gate_up"), *any_step})
        which = _Which(ends, limits.max_batch_size, decode=True)
        steps = _steps(kinds, classes, made, which) + steps
    heads = [
        HeadRange(
            min_rows=one.place.first,
            max_rows=one.place.last,
            launches=made.head(plan.launches("logits", one.place.last)),
        )
        for one in chosen
        if one.place.name == "logits"
    ]
    libraries = libraries_of(plan.candidates)
    space = buffers(spec, recipe, plan)
    return Lowered(_launched(plan, steps, heads), libraries, space, tuple(steps), tuple(heads))


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


def _steps(kinds: Kinds, classes: StepClasses, linears: Linears, which: _Which) -> list[StepRange]:
    return [_step(kinds, first, last, classes, linears, which) for first, last in which.ranges()]


def _step(
    kinds: Kinds, first: int, last: int, classes: StepClasses, linears: Linears, which: _Which
) -> StepRange:
    numerics = classes.of(last, decode=which.decode)
    return StepRange(
        min_tokens=first,
        max_tokens=last,
        decode=which.decode,
        tokens_a_request=TOKENS_A_REQUEST if which.prompts else 1,
        numerics=numerics,
        query_tile=0 if which.decode else max(_query_tiles(kinds, last, which)),
        embed=linears.embed(last, numerics),
        kinds={
            name: linears.layer(mine, last, numerics, decode=which.decode, prompts=which.prompts)
            for name, mine in kinds.items()
        },
    )


def _query_tiles(kinds: Kinds, size: int, which: _Which) -> Iterator[int]:
    """What each kind plans with: a library has no tiles, and all others have the same."""
    for mine in kinds.values():
        prompts = mine.maybe("prompt_attention", size) if which.prompts else ()
        yield mine.at("prompt_attention" if prompts else "prefill_attention", size).query_tile
