"""gate: the staged programs and weights must be what was asked for, or nothing is sealed."""

import math
from pathlib import Path
from typing import Any, Final, get_args

import torch

from nacelle_builder.build import RANK0, Build, Facts
from nacelle_builder.convert.checkpoint import open_checkpoint
from nacelle_builder.convert.convert import Model, read_model
from nacelle_builder.gate.fake_quantise import rounding_of
from nacelle_builder.gate.fidelity import check_programs
from nacelle_builder.gate.invariance import check_invariance
from nacelle_builder.gate.measure import measure
from nacelle_builder.gate.planned import NONE_PLANNED, planned_steps
from nacelle_builder.gate.quality import judge
from nacelle_builder.gate.reference import Reference
from nacelle_builder.gate.text import text_ids, windows
from nacelle_builder.gate.weights import check_weights
from nacelle_builder.numerics import step_classes
from nacelle_builder.report import Report
from nacelle_builder.source.files import TOKENIZER, find_checkpoint
from nacelle_builder.source.weights import open_weights
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.precision import Determinism
from nacelle_engine.program.launch import NumericsClass, read_launches
from nacelle_engine.program.program import Program, open_program
from nacelle_engine.program.signature import WEIGHTS
from nacelle_engine.result import Accuracy

# What of the free memory the reference's weights may take: logits and caches need the rest.
_REFERENCE_SHARE: Final = 0.7


def settings(build: Build) -> Any:
    """The gate's verdict depends on the user's bounds too."""
    return build.request.accuracy.model_dump(mode="json")


def run(build: Build, facts: Facts, report: Report) -> Facts:
    """The figures measured; FidelityFailed or AccuracyFailed says what does not hold."""
    model = read_model(find_checkpoint(Path(facts.model_folder)))
    report(0, "weights against their source")
    _check_weights(build, model)
    report(10, "loading the reference")
    ids = text_ids(Path(facts.model_folder) / TOKENIZER, model.spec.vocab_size)
    program = open_program(build.work / RANK0)
    reference = Reference.load(Path(facts.model_folder), _reference_device(model, program))
    # Quality needs the original weights, fidelity the quantised ones: so one model serves both.
    accuracy = _measure(build, reference, program, ids, report)
    _check_programs(build, model, reference, program, ids, report)
    for broken in judge(accuracy, build.request.accuracy):
        report(100, f"published although {broken}")
    return facts.model_copy(update={"accuracy": accuracy})


def _reference_device(model: Model, program: Program) -> torch.device:
    """The program's own device when the float32 model and its activations fit beside it."""
    if program.device.type == "cpu":
        return program.device
    parameters = sum(math.prod(tensor.shape) for tensor in checkpoint_tensors(model.spec))
    free, _ = torch.cuda.mem_get_info(program.device)
    fits = _REFERENCE_SHARE * free > 4 * parameters
    return program.device if fits else torch.device("cpu")


def _check_weights(build: Build, model: Model) -> None:
    quantization = build.request.recipe.quantization
    with (
        open_weights(model.index, model.stored) as source,
        open_checkpoint(build.work / RANK0 / WEIGHTS) as converted,
    ):
        check_weights(model.spec, model.sources, source, converted, quantization)


def _measure(
    build: Build, reference: Reference, program: Program, ids: list[int], report: Report
) -> Accuracy:
    limits = build.request.recipe.limits
    batches = windows(ids, build.request.accuracy.samples, limits.max_seq_len)

    def tell(percent: int, message: str) -> None:
        report(20 + percent // 2, message)

    return measure(program, reference, batches, limits, tell)


def _check_programs(
    build: Build,
    model: Model,
    reference: Reference,
    program: Program,
    ids: list[int],
    report: Report,
) -> None:
    def tell(percent: int, message: str) -> None:
        report(70 + percent * 3 // 10, message)

    recipe = build.request.recipe
    with open_checkpoint(build.work / RANK0 / WEIGHTS) as converted:
        reference.take_weights(model.spec, model.names, converted)
        roundings = {
            numerics: rounding_of(
                model.spec,
                model.names,
                converted,
                recipe.quantization,
                numerics=numerics,
            )
            for numerics in get_args(NumericsClass)
        }
    classes = step_classes(model.spec, recipe)
    planned = NONE_PLANNED
    if not recipe.architecture.is_cpu:
        planned = planned_steps(read_launches(build.work / RANK0))
    check_programs(program, reference, roundings, ids, classes, recipe.limits, tell, planned)
    if recipe.determinism == Determinism.BATCH_INVARIANT:
        report(99, "the same tokens in other steps")
        check_invariance(program, ids, recipe.limits)
