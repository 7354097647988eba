"""The signature of a GPU's programs: the weights as they are stored, and nothing of the steps."""

from nacelle_builder.compile.cpu import signature as cpu
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import QuantizationAlgorithm
from nacelle_engine.program.launch import LAUNCHES
from nacelle_engine.program.signature import ProgramSpec, Signature, WeightSpec
from nacelle_engine.recipe import Recipe

LINEARS = ("qkv", "dense", "gate_up", "down")


def signature_of(spec: ModelSpec, recipe: Recipe) -> Signature:
    """What programs.json will hold: all programs are in the launch list."""
    whole = cpu.signature_of(spec, recipe)
    fp8 = recipe.quantization.algorithm != QuantizationAlgorithm.NONE
    return whole.model_copy(
        update={
            "form": "launches",
            "embed": _program(whole.embed, fp8=False),
            "kinds": tuple(_program(kind, fp8) for kind in whole.kinds),
            "head": _program(whole.head, fp8=False),
        }
    )


def _program(program: ProgramSpec, fp8: bool) -> ProgramSpec:
    weights = [
        one
        for spec in program.weights
        for one in (_stored(spec) if fp8 and spec.name in LINEARS else (spec,))
    ]
    return program.model_copy(
        update={"file": LAUNCHES, "step": (), "outputs": (), "weights": tuple(weights)}
    )


def _stored(spec: WeightSpec) -> tuple[WeightSpec, WeightSpec]:
    """An FP8 linear and its scales, one an output."""
    scales = tuple(s.removesuffix(".weight") + ".per_channel_scale" for s in spec.sources)
    return (
        spec.model_copy(update={"dtype": "float8_e4m3fn"}),
        WeightSpec(
            name=f"{spec.name}_scale", dtype="float32", shape=spec.shape[:1], sources=scales
        ),
    )
