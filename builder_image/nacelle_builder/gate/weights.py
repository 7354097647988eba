"""Fidelity of the weights: each converted tensor against its source, within what rounding can do.

Rounding to nearest moves a number of the grid by at most half a step, so for a row w [n]:
  E4M3 (3 mantissa bits), scale s: |error| <= 2^-4 |w|, and below the smallest normal at most half
  a subnormal step, 2^-10 s. Hence ||error|| <= 2^-4 ||w|| + sqrt(n) 2^-10 s, for every right
  conversion: a scale that is wrong by more than 6.3 % cannot pass. s = max|w| / 448 over what
  shares a scale: the row, or the whole tensor (mlp.fc and mlp.gate together).
  bfloat16 (7 mantissa bits): ||error|| <= 2^-8 ||w||. float32: no error. A ready-made checkpoint's
  weight that is taken as it is: no error.
Over a whole tensor E4M3's errors average: the expected ||error|| / ||w|| is about 0.0255 (uniform
error over mantissas spread evenly on a log scale), so 0.04 leaves room for odd distributions and
still catches a scale that is wrong by 3 % everywhere. With one scale a tensor, far outliers push
the rest below the normal numbers: there half a subnormal step of each is let through beside.
"""

from collections.abc import Mapping
from typing import Final

import torch

from nacelle_builder.convert.checkpoint import CheckpointReader
from nacelle_builder.convert.gather import gather
from nacelle_builder.convert.quantize import E4M3_MAX
from nacelle_builder.source.weights import SourceWeights
from nacelle_engine.errors import FidelityFailed
from nacelle_engine.model.checkpoint import CheckpointTensor, checkpoint_tensors
from nacelle_engine.model.scales import sharing
from nacelle_engine.model.source import Source
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import Quantization, QuantizationAlgorithm

E4M3_TENSOR_BOUND: Final = 0.04
_E4M3_HALF_STEP: Final = 2.0**-4
_E4M3_HALF_SUBNORMAL: Final = 2.0**-10
_HALF_STEP: Final = {"bfloat16": 2.0**-8, "float32": 0.0}
# float32 arithmetic of the check itself.
_SLACK: Final = 1e-5


def check_weights(
    spec: ModelSpec,
    sources: Mapping[str, Source],
    source: SourceWeights,
    checkpoint: CheckpointReader,
    quantization: Quantization,
) -> float:
    """The largest relative error of a linear; FidelityFailed names a tensor beyond its bound."""
    worst = 0.0
    for tensor in checkpoint_tensors(spec):
        wanted = gather(sources[tensor.name], source.read).float()
        found = checkpoint.read(tensor)
        shared = _shared(tensor, sources, quantization)
        names = [name for one in shared for name in one.names]
        as_is = tensor.linear and source.kept(names, quantization.algorithm)
        largest = None
        if len(shared) > 1:
            largest = max(float(gather(one, source.read).abs().amax()) for one in shared)
        error = check_tensor(tensor, wanted, found, quantization, largest, as_is=as_is)
        worst = max(worst, error) if tensor.linear else worst
    return worst


def check_tensor(
    tensor: CheckpointTensor,
    wanted: torch.Tensor,
    found: torch.Tensor,
    quantization: Quantization,
    largest: float | None = None,
    *,
    as_is: bool = False,
) -> float:
    """||found - wanted|| / ||wanted|| of one tensor, once each of its rows is within bounds.

    largest: the largest absolute value of all that shares a scale per tensor; its own without.
    as_is: the source holds the very numbers that the checkpoint must hold.
    """
    rows = wanted.reshape(wanted.shape[0], -1)
    errors = torch.linalg.vector_norm(found.reshape(rows.shape) - rows, dim=1)
    norms = torch.linalg.vector_norm(rows, dim=1)
    fp8 = tensor.linear and quantization.algorithm != QuantizationAlgorithm.NONE and not as_is
    subnormal = torch.zeros_like(norms)
    if as_is:
        bounds = torch.zeros_like(norms)
    elif fp8:
        subnormal = (
            rows.shape[1] ** 0.5 * _E4M3_HALF_SUBNORMAL * _scales(rows, quantization, largest)
        )
        bounds = _E4M3_HALF_STEP * norms + subnormal
    else:
        bounds = _HALF_STEP[quantization.compute_type.value] * norms
    wrong = ~(errors <= bounds + _SLACK * norms)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise FidelityFailed(
            f"{tensor.name}: output channel {row} (and {int(wrong.sum()) - 1} more) differs from "
            f"the source by {float(errors[row] / norms[row]):.4f} of its norm; rounding gives at "
            f"most {float(bounds[row] / norms[row]):.4f}: its weight or scale is wrong"
        )
    whole = norms.norm().clamp_min(torch.finfo(torch.float32).tiny)
    relative = float(errors.norm() / whole)
    bound = E4M3_TENSOR_BOUND
    if quantization.algorithm == QuantizationAlgorithm.FP8:
        bound += float(subnormal.norm() / whole)
    if fp8 and not relative <= bound:
        raise FidelityFailed(
            f"{tensor.name} differs from the source by {relative:.4f} of its norm; E4M3 gives "
            f"0.026, at most {bound:.2g} is let through: its scales are wrong"
        )
    return relative


def _shared(
    tensor: CheckpointTensor, sources: Mapping[str, Source], quantization: Quantization
) -> list[Source]:
    """What shares a scale per tensor with a tensor, itself among them."""
    if tensor.linear and quantization.algorithm == QuantizationAlgorithm.FP8:
        return [sources[name] for name in sharing(tensor.name)]
    return [sources[tensor.name]]


def _scales(rows: torch.Tensor, quantization: Quantization, largest: float | None) -> torch.Tensor:
    """The scale that each row must have been given [rows]."""
    each = rows.abs().amax(dim=1)
    if quantization.algorithm == QuantizationAlgorithm.FP8:
        whole = float(each.amax()) if largest is None else largest
        each = torch.full_like(each, whole)
    return each / E4M3_MAX
