"""How one linear of the checkpoint is written: which tensors, and made from what of the source."""

from collections.abc import Iterator

import torch

from nacelle_builder.calibrate.scales import Scales
from nacelle_builder.convert.gather import gather, take
from nacelle_builder.convert.quantize import (
    QuantizedLinear,
    join_per_tensor,
    quantize_per_channel,
    quantize_per_tensor,
)
from nacelle_builder.convert.writer import Slot
from nacelle_builder.source.stored import Stored
from nacelle_builder.source.weights import SourceWeights
from nacelle_engine.model.checkpoint import CheckpointTensor
from nacelle_engine.model.scales import ACTIVATION, PER_CHANNEL, PER_TENSOR, linear_scale
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
    made_of: Source,
    source: SourceWeights,
    stored: Stored | None,
    algorithm: QuantizationAlgorithm,
) -> QuantizedLinear:
    """The linear that source tensors make: as they are where the source is quantised in the same
    way, and quantised here where it is not."""
    per_tensor = algorithm == QuantizationAlgorithm.FP8
    if stored is None or not stored.taken_as_is:
        values = gather(made_of, source.read)
        return quantize_per_tensor(values) if per_tensor else quantize_per_channel(values)
    if per_tensor:
        parts = [source.linear(name) for name in made_of.names]
        taken = [QuantizedLinear(take(made_of, p.weight), p.scale[:1]) for p in parts]
        return join_per_tensor(taken)
    weight = gather(made_of, lambda name: source.linear(name).weight)
    return QuantizedLinear(weight, gather(made_of, lambda name: source.linear(name).scale))
