"""The scales of an FP8 KV cache in the checkpoint: three tensors a layer, behind all weights."""

from collections.abc import Iterator

import torch

from nacelle_builder.calibrate.scales import Scales
from nacelle_builder.convert.writer import Slot
from nacelle_engine.model.scales import K_CACHE, KV_CACHE, V_CACHE, attention_scale
from nacelle_engine.precision import Fp8OrNone, Quantization


def kv_slots(layers: int, quantization: Quantization) -> Iterator[Slot]:
    """The places of the scales; none where the KV cache is not quantised."""
    if quantization.kv_cache == Fp8OrNone.FP8:
        for layer in range(layers):
            for kind in (KV_CACHE, K_CACHE, V_CACHE):
                yield Slot(attention_scale(layer, kind), torch.float32, (1,))


def kv_parts(
    layers: int, quantization: Quantization, scales: Scales
) -> Iterator[tuple[str, torch.Tensor]]:
    """The scales themselves; TensorRT-LLM's one factor covers both keys and values."""
    if quantization.kv_cache == Fp8OrNone.FP8:
        assert len(scales.kv) == layers, "the calibrate stage leaves scales for every layer"
        for layer, scale in enumerate(scales.kv):
            yield attention_scale(layer, KV_CACHE), torch.tensor([max(scale.k, scale.v)])
            yield attention_scale(layer, K_CACHE), torch.tensor([scale.k])
            yield attention_scale(layer, V_CACHE), torch.tensor([scale.v])
