"""Rounds activations of the eager reference as a program does that really quantises them.

static     q = e4m3(clamp(x / s, -448, 448)) * s      s: the linear's activation scale
per token  s[t] = max_k |x[t, k]| / 448 (1 for a row of zeros), then the same with s[t]
per block  s[t, b] likewise, over the columns k of block b
KV cache   the same with the layer's scales of keys (after rope) and of values
queries    (after rope) with the scale 1

Which of these a program does differs from one numerics class of it to another: a step of few
tokens may leave inputs as they are. So a rounding is made for a class and used for its steps: for
the stretches of a sequence that these steps run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch

from nacelle_builder.calibrate.scales import KvScale
from nacelle_builder.convert.checkpoint import CheckpointReader
from nacelle_builder.convert.quantize import scale_of, to_e4m3
from nacelle_builder.numerics import BLOCK_COLUMNS, attention_columns
from nacelle_builder.source.stored import module_name
from nacelle_builder.tapped_cache import tapped_cache
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.scales import ACTIVATION, K_CACHE, V_CACHE, attention_scale, linear_scale
from nacelle_engine.model.source import Source
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.precision import Fp8OrNone, Quantization, QuantizationAlgorithm
from nacelle_engine.program.launch import NumericsClass


@dataclass(frozen=True)
class PerBlock:
    """A scale for each token and block of so many columns."""

    columns: int


# A static scale, one a token and block, or (None) one a token.
InputScale = float | PerBlock | None


@dataclass(frozen=True)
class Rounding:
    """What of the activations is rounded to E4M3.

    inputs  module of the eager model -> the scale of its input
    kv      scales of each layer's keys and values; none where the KV cache is not quantised
    queries whether they are
    """

    inputs: Mapping[str, InputScale] = field(default_factory=dict)
    kv: tuple[KvScale, ...] = ()
    queries: bool = False


AS_COMPUTED: Final = Rounding()


@dataclass(frozen=True)
class Stretch:
    """So many tokens of a sequence in a row whose linears' inputs are rounded in one way."""

    tokens: int
    rounding: Rounding


def rounding_of(
    spec: ModelSpec,
    sources: Mapping[str, Source],
    checkpoint: CheckpointReader,
    quantization: Quantization,
    *,
    numerics: NumericsClass,
) -> Rounding:
    """The rounding of a recipe in one numerics class, its scales from the checkpoint."""
    rounded: dict[str, InputScale] = {}
    if numerics != "fused" and quantization.algorithm != QuantizationAlgorithm.NONE:
        for tensor in checkpoint_tensors(spec):
            if tensor.linear:
                scale: InputScale = None
                if numerics == "block":
                    dense = tensor.name.endswith("attention.dense.weight")
                    scale = PerBlock(attention_columns(spec) if dense else BLOCK_COLUMNS)
                elif quantization.algorithm == QuantizationAlgorithm.FP8:
                    scale = checkpoint.scalar(linear_scale(tensor.name, ACTIVATION))
                rounded |= dict.fromkeys(map(module_name, sources[tensor.name].names), scale)
    kv: tuple[KvScale, ...] = ()
    if quantization.kv_cache == Fp8OrNone.FP8:
        kv = tuple(
            KvScale(
                k=checkpoint.scalar(attention_scale(layer, K_CACHE)),
                v=checkpoint.scalar(attention_scale(layer, V_CACHE)),
            )
            for layer in range(spec.num_layers)
        )
    return Rounding(rounded, kv)


def round_static(x: torch.Tensor, scale: float) -> torch.Tensor:
    """x of any shape, rounded with one scale; in its own type again."""
    return (to_e4m3(x.to(torch.float32) / scale).to(torch.float32) * scale).to(x.dtype)


def round_per_token(x: torch.Tensor) -> torch.Tensor:
    """x [..., K], each row rounded with its own scale; in its own type again."""
    full = x.to(torch.float32)
    scale = scale_of(full.abs().amax(dim=-1, keepdim=True))
    return (to_e4m3(full / scale).to(torch.float32) * scale).to(x.dtype)


def round_per_block(x: torch.Tensor, columns: int) -> torch.Tensor:
    """x [..., K], each block of columns of a row rounded with its own scale; in its own type."""
    return round_per_token(x.reshape(*x.shape[:-1], -1, columns)).flatten(-2)


@contextmanager
def rounded_inputs(eager: Any, stretches: Sequence[Stretch]) -> Iterator[None]:
    """While inside, the model's linears get their inputs [..., tokens, K] rounded, by stretches."""
    names = dict.fromkeys(name for one in stretches for name in one.rounding.inputs)
    with ExitStack() as stack:
        for name in names:
            module = eager.get_submodule(name)
            handle = module.register_forward_pre_hook(_hook(name, stretches))
            stack.callback(handle.remove)
        yield


def rounded_cache(eager: Any, rounding: Rounding) -> Any:
    """A KV cache for one call that rounds what it is given; None where nothing is rounded."""
    if not rounding.kv:
        return None

    def tap(
        layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scale = rounding.kv[layer]
        return round_static(keys, scale.k), round_static(values, scale.v)

    return tapped_cache(eager.config, tap)


def _hook(name: str, stretches: Sequence[Stretch]) -> Any:
    def before(module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        parts = torch.split(inputs[0], [one.tokens for one in stretches], dim=-2)
        rounded = [
            _rounded(part, one.rounding.inputs[name]) if name in one.rounding.inputs else part
            for part, one in zip(parts, stretches, strict=True)
        ]
        return (torch.cat(rounded, dim=-2), *inputs[1:])

    return before


def _rounded(x: torch.Tensor, scale: InputScale) -> torch.Tensor:
    if scale is None:
        return round_per_token(x)
    return (
        round_per_block(x, scale.columns) if isinstance(scale, PerBlock) else round_static(x, scale)
    )
