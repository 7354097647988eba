"""calibrate: the static scales that the recipe asks for, in <work>/calibration."""

from pathlib import Path
from typing import Any

import torch

from nacelle_builder.build import CALIBRATION, Build, Facts
from nacelle_builder.calibrate.observe import observe
from nacelle_builder.calibrate.scales import Scales, write_scales
from nacelle_builder.calibrate.stored_scales import stored_scales
from nacelle_builder.calibrate.texts import read_samples
from nacelle_builder.convert.convert import Model, check_names, read_model
from nacelle_builder.eager_model import load_eager
from nacelle_builder.report import Report
from nacelle_builder.source.files import TOKENIZER, find_checkpoint
from nacelle_builder.source.stored import check_asked, module_name, needs_calibration
from nacelle_engine.calibration import Calibration
from nacelle_engine.errors import GpuOutOfMemory, InvalidRequest
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.precision import Fp8OrNone, Quantization, QuantizationAlgorithm


def run(build: Build, facts: Facts, report: Report) -> Facts:
    """Write the scales: those that the checkpoint brings, and for the others those observed."""
    model = read_model(find_checkpoint(Path(facts.model_folder)))
    quantization = build.request.recipe.quantization
    if model.stored is not None:
        check_asked(model.stored, quantization)
    check_names(model, checkpoint_tensors(model.spec))
    scales = stored_scales(model)
    if needs_calibration(model.stored, quantization, bool(model.kv_scales)):
        observed = _observed(model, Path(facts.model_folder), quantization, report)
        scales = Scales(inputs=scales.inputs or observed.inputs, kv=scales.kv or observed.kv)
    elif quantization.calibration is not None:
        raise InvalidRequest(
            f"quantization.calibration has no meaning for this checkpoint: {model.stored} brings "
            "every static scale itself; leave it out"
        )
    else:
        report(90, f"every static scale is in the checkpoint: {model.stored}")
    write_scales(build.work / CALIBRATION, _asked(scales, quantization))
    return facts


def _observed(model: Model, folder: Path, quantization: Quantization, report: Report) -> Scales:
    calibration = quantization.calibration or Calibration()
    samples = read_samples(calibration, folder, folder / TOKENIZER, model.spec.vocab_size)
    report(1, "loading the model")

    def tell(percent: int, message: str) -> None:
        report(10 + percent * 9 // 10, message)

    try:
        eager = _load(folder)
        return observe(eager, _linears(model), model.spec.num_layers, samples, calibration, tell)
    except torch.OutOfMemoryError as error:
        raise GpuOutOfMemory(f"calibration: the model does not fit the GPU: {error}") from error


def _load(folder: Path) -> Any:
    """In bfloat16 on a GPU, as it will be served; in float32 on a CPU, where that costs little."""
    if torch.cuda.is_available():
        return load_eager(folder, torch.bfloat16).to("cuda").eval()
    return load_eager(folder, torch.float32).eval()


def _linears(model: Model) -> dict[str, str]:
    """Each linear's checkpoint name, and the module that has its input: the first it is made of."""
    return {
        tensor.name: module_name(model.names[tensor.name].names[0])
        for tensor in checkpoint_tensors(model.spec)
        if tensor.linear
    }


def _asked(scales: Scales, quantization: Quantization) -> Scales:
    inputs = quantization.algorithm == QuantizationAlgorithm.FP8
    cache = quantization.kv_cache == Fp8OrNone.FP8
    return Scales(inputs=scales.inputs if inputs else {}, kv=scales.kv if cache else ())
