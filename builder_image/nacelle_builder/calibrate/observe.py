"""Runs the eager model over texts and watches what goes into linears and into the KV cache."""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from nacelle_builder.calibrate.scales import KvScale, Scales
from nacelle_builder.calibrate.statistics import Statistic
from nacelle_builder.convert.quantize import E4M3_MAX
from nacelle_builder.report import Report
from nacelle_builder.tapped_cache import tapped_cache
from nacelle_engine.calibration import Calibration
from nacelle_engine.errors import InvalidModel


@dataclass
class _Watch:
    """The statistics of one run: of each linear's input, of each layer's keys and values."""

    inputs: dict[str, Statistic] = field(default_factory=dict)
    keys: list[Statistic] = field(default_factory=list)
    values: list[Statistic] = field(default_factory=list)

    def tap(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys[layer].add(keys)
        self.values[layer].add(values)
        return keys, values


@torch.inference_mode()
def observe(
    eager: Any,
    linears: Mapping[str, str],
    layers: int,
    samples: Sequence[Sequence[int]],
    calibration: Calibration,
    report: Report,
) -> Scales:
    """The scales of `linears` (checkpoint weight's name -> module that has its input) and of the
    KV cache of `layers` layers; InvalidModel names where the model gives NaN or Inf."""
    watch = _Watch(
        inputs={name: Statistic(calibration) for name in linears},
        keys=[Statistic(calibration) for _ in range(layers)],
        values=[Statistic(calibration) for _ in range(layers)],
    )
    tokens = sum(map(len, samples))
    with ExitStack() as stack:
        for name, module in linears.items():
            hook = _hook(watch.inputs[name])
            handle = eager.get_submodule(module).register_forward_pre_hook(hook)
            stack.callback(handle.remove)
        for number, sample in enumerate(samples):
            ids = torch.tensor([list(sample)], device=eager.device)
            # Without the head: its logits are the largest tensor and nobody needs them.
            eager.base_model(
                input_ids=ids,
                use_cache=True,
                past_key_values=tapped_cache(eager.config, watch.tap),
            )
            report(
                100 * (number + 1) // len(samples),
                f"calibrating: text {number + 1} of {len(samples)}, {tokens} tokens in all",
            )
    return Scales(
        inputs={
            name: _scale(statistic, f"the input of {linears[name]}")
            for name, statistic in watch.inputs.items()
        },
        kv=tuple(
            KvScale(
                k=_scale(watch.keys[layer], f"layer {layer}'s keys"),
                v=_scale(watch.values[layer], f"layer {layer}'s values"),
            )
            for layer in range(layers)
        ),
    )


def _hook(statistic: Statistic) -> Any:
    def before(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        statistic.add(inputs[0])

    return before


def _scale(statistic: Statistic, what: str) -> float:
    """value / 448, or 1 for a stream of zeros, as for weights."""
    value = statistic.value()
    if not math.isfinite(value):
        raise InvalidModel(f"calibration: {what} holds NaN or Inf: the model's weights are damaged")
    # As float32, which is how it is stored, and where the smallest values become 0.
    scale = float(torch.tensor(value / E4M3_MAX))
    return scale if scale > 0 else 1.0
