"""The signature of a GPU's programs: the weights as they are stored, and nothing of the steps."""

from collections.abc import Iterator

from nacelle_builder.compile.cpu import signature as cpu
from nacelle_builder.numerics import quantises, step_classes
from nacelle_engine.model.scales import (
    ACTIVATION,
    K_CACHE,
    PER_CHANNEL,
    PER_TENSOR,
    V_CACHE,
    linear_scale,
)
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import Fp8OrNone, Quantization, QuantizationAlgorithm
from nacelle_engine.program.launch import LAUNCHES
from nacelle_engine.program.signature import Join, ProgramSpec, Signature, WeightSpec
from nacelle_engine.recipe import Recipe

LINEARS = ("qkv", "dense", "gate_up", "down")


def signature_of(spec: ModelSpec, recipe: Recipe) -> Signature:
    """What programs.json will hold: all programs are in the launch list."""
    whole = cpu.signature_of(spec, recipe)
    embed = _program(whole.embed, whole.embed.weights)
    kinds = [_layer(kind, recipe.quantization) for kind in whole.kinds]
    # TensorRT's plans norm what they read themselves.
    ahead = recipe.backend == "native"
    if ahead and (step_classes(spec, recipe).block or quantises(spec, recipe)):
        embed, kinds = _with_norms_after(embed, kinds, whole)
    static = recipe.quantization.algorithm == QuantizationAlgorithm.FP8
    if ahead and static and quantises(spec, recipe):
        embed, kinds = _with_scales_after(embed, kinds)
    return whole.model_copy(
        update={
            "form": "launches",
            "embed": embed,
            "kinds": tuple(kinds),
            "head": _program(whole.head, whole.head.weights),
        }
    )


def _program(program: ProgramSpec, weights: tuple[WeightSpec, ...]) -> ProgramSpec:
    return program.model_copy(
        update={"file": LAUNCHES, "step": (), "outputs": (), "weights": weights}
    )


def _with_norms_after(
    embed: ProgramSpec, kinds: list[ProgramSpec], whole: Signature
) -> tuple[ProgramSpec, list[ProgramSpec]]:
    """The programs, each with the norm that reads the stream next: FP8 codes are made for it."""
    (final,) = [spec for spec in whole.head.weights if spec.name == "final_norm"]
    (inner,) = {spec for kind in kinds for spec in kind.weights if spec.name == "input_norm"}
    first = inner.model_copy(update={"name": "first_norm", "sources": inner.names(0, last=False)})
    following = inner.model_copy(
        update={
            "name": "next_norm",
            "sources": tuple(name.replace("{layer}", "{next}") for name in inner.sources),
            "last_sources": final.sources,
        }
    )
    return _and(embed, first), [_and(kind, following) for kind in kinds]


def _with_scales_after(
    embed: ProgramSpec, kinds: list[ProgramSpec]
) -> tuple[ProgramSpec, list[ProgramSpec]]:
    """The programs, each with the static scale of the linear that reads the stream next."""
    (inner,) = {spec for kind in kinds for spec in kind.weights if spec.name == "qkv_input_scale"}
    entry = inner.names(0, last=False)
    first = inner.model_copy(update={"name": "first_qkv_input_scale", "sources": entry})
    following = inner.model_copy(
        update={
            "name": "next_qkv_input_scale",
            "sources": tuple(name.replace("{layer}", "{next}") for name in inner.sources),
            # After the last layer nothing reads the codes: any scale will do.
            "last_sources": entry,
        }
    )
    return _and(embed, first), [_and(kind, following) for kind in kinds]


def _and(program: ProgramSpec, weight: WeightSpec) -> ProgramSpec:
    return program.model_copy(update={"weights": (*program.weights, weight)})


def _layer(kind: ProgramSpec, quantization: Quantization) -> ProgramSpec:
    weights = [one for spec in kind.weights for one in _stored(spec, quantization.algorithm)]
    if quantization.kv_cache == Fp8OrNone.NONE:
        return _program(kind, tuple(weights))
    prefix = "transformer.layers.{layer}.attention."
    weights.append(_scale("kv_scales", 2, (prefix + K_CACHE, prefix + V_CACHE)))
    cache = tuple(one.model_copy(update={"dtype": "float8_e4m3fn"}) for one in kind.state)
    return _program(kind, tuple(weights)).model_copy(update={"state": cache})


def _stored(spec: WeightSpec, algorithm: QuantizationAlgorithm) -> Iterator[WeightSpec]:
    """A weight, and where it is a quantised linear its scales.

    <name>_scale        one an output, whatever the algorithm
    <name>_factor       FP8: the one that they all are; weights that are joined share it
    <name>_input_scale  FP8: of the linear's input
    """
    if spec.name not in LINEARS or algorithm == QuantizationAlgorithm.NONE:
        yield spec
        return

    def of(kind: str) -> tuple[str, ...]:
        return tuple(linear_scale(source, kind) for source in spec.sources)

    yield spec.model_copy(update={"dtype": "float8_e4m3fn"})
    rows = spec.shape[0]
    if algorithm == QuantizationAlgorithm.FP8:
        yield _scale(f"{spec.name}_scale", rows, of(PER_TENSOR), "repeated")
        yield _scale(f"{spec.name}_factor", 1, of(PER_TENSOR), "same")
        yield _scale(f"{spec.name}_input_scale", 1, of(ACTIVATION), "same")
    else:
        yield _scale(f"{spec.name}_scale", rows, of(PER_CHANNEL))


def _scale(name: str, count: int, sources: tuple[str, ...], join: Join = "rows") -> WeightSpec:
    return WeightSpec(name=name, dtype="float32", shape=(count,), sources=sources, join=join)
