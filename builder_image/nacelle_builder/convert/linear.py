"""How one linear of the checkpoint is written: which tensors, and made from what of the source."""

from collections.abc import Iterator, Mapping

import torch

from nacelle_builder.calibrate.scales import Scales
from nacelle_builder.convert.gather import gather, take
from nacelle_builder.convert.quantize import (
    QuantizedLinear,
    join_per_tensor,
    quantize_per_channel,
    quantize_per_tensor,
    scale_of,
)
from nacelle_builder.convert.writer import Slot
from nacelle_builder.source.stored import Stored
from nacelle_builder.source.weights import SourceWeights
from nacelle_engine.model.checkpoint import CheckpointTensor
from nacelle_engine.model.scales import (
    ACTIVATION,
    PER_CHANNEL,
    PER_TENSOR,
    linear_scale,
    sharing,
)
from nacelle_engine.model.source import Source
from nacelle_engine.precision import QuantizationAlgorithm

Part = tuple[str, torch.Tensor]


def linear_slots(tensor: CheckpointTensor, algorithm: QuantizationAlgorithm) -> Iterator[Slot]:
    """The places of a quantised linear's tensors, in their order."""
    yield Slot(tensor.name, torch.float8_e4m3fn, tensor.shape)
    if algorithm == QuantizationAlgorithm.FP8:
        yield Slot(linear_scale(tensor.name, PER_TENSOR), torch.float32, (1,))
        yield Slot(linear_scale(tensor.name, ACTIVATION), torch.float32, (1,))
    else:
        yield Slot(linear_scale(tensor.name, PER_CHANNEL), torch.float32, tensor.shape[:1])


def linear_parts(
    tensor: CheckpointTensor,
    linear: QuantizedLinear,
    algorithm: QuantizationAlgorithm,
    scales: Scales,
) -> Iterator[Part]:
    """The tensors themselves, in the slots' order."""
    yield tensor.name, linear.weight
    if algorithm == QuantizationAlgorithm.FP8:
        yield linear_scale(tensor.name, PER_TENSOR), linear.scale
        yield linear_scale(tensor.name, ACTIVATION), torch.tensor([scales.inputs[tensor.name]])
    else:
        yield linear_scale(tensor.name, PER_CHANNEL), linear.scale


def quantized(
    name: str,
    sources: Mapping[str, Source],
    source: SourceWeights,
    stored: Stored | None,
    algorithm: QuantizationAlgorithm,
) -> QuantizedLinear:
    """The checkpoint's linear of that name: as the source has it where that is quantised in the
    same way, and quantised here where it is not."""
    made_of = sources[name]
    as_is = stored is not None and stored.taken_as_is
    if algorithm == QuantizationAlgorithm.FP8:
        shared = [sources[other] for other in sharing(name)]
        if not as_is:
            scale = _own_scale(shared, source) if len(shared) > 1 else None
            return quantize_per_tensor(gather(made_of, source.read), scale)
        parts = [source.linear(part) for part in made_of.names]
        taken = [QuantizedLinear(take(made_of, p.weight), p.scale[:1]) for p in parts]
        return join_per_tensor(taken, _stored_scale(shared, source))
    if not as_is:
        return quantize_per_channel(gather(made_of, source.read))
    weight = gather(made_of, lambda name: source.linear(name).weight)
    return QuantizedLinear(weight, gather(made_of, lambda name: source.linear(name).scale))


def _own_scale(shared: list[Source], source: SourceWeights) -> torch.Tensor:
    """The one scale [1] of linears that are quantised here; they are read one after the other."""
    largest = [gather(one, source.read).abs().amax().to(torch.float32) for one in shared]
    return scale_of(torch.stack(largest).amax().reshape(1))


def _stored_scale(shared: list[Source], source: SourceWeights) -> torch.Tensor:
    """The largest of the scales [1] that linears are stored with."""
    scales = [source.tensor_scale(name) for one in shared for name in one.names]
    return torch.stack(scales).amax(dim=0)
