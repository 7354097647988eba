"""A decoder layer in plain torch ops, one by one: what PyTorch's eager mode runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from nacelle_engine.errors import InvalidRequest
from nacelle_engine.ops import dequantise, norm
from nacelle_engine.program.signature import ProgramSpec
from nacelle_engine.program.step import StepInput

Weights = Literal["float8_e4m3fn", "bfloat16"]
_FP8 = torch.float8_e4m3fn
_LARGEST = 448.0
_LINEARS = ("qkv", "dense", "gate_up", "down")
_KNOWN = {"input_norm", "post_norm", "next_norm", "kv_scales", *_LINEARS} | {
    f"{name}_scale" for name in _LINEARS
}


def check_layer(kind: ProgramSpec) -> None:
    """InvalidRequest when the layer has what the eager one does not."""
    if others := sorted({weight.name for weight in kind.weights} - _KNOWN):
        raise InvalidRequest(
            f"{kind.name}: the eager layer has no {others[0]}; fusion is measured of layers of "
            "two norms, four linears without biases, and weights in bfloat16 or FP8 per channel"
        )
    for weight in kind.weights:
        if weight.name.removesuffix("_scale") in _LINEARS and weight.shape == (1,):
            raise InvalidRequest(
                f"{kind.name}: {weight.name} is one number; the eager layer takes a scale a channel"
            )


@dataclass(frozen=True)
class Geometry:
    """What the weights' shapes leave open: sizes of heads, and the norms' eps."""

    heads: int
    kv_heads: int
    head_dim: int
    eps: float


@dataclass(frozen=True)
class EagerStep:
    """A step's inputs on the device, made once for all layers, as models make them.

    cos, sin [T, 1, D] bfloat16: both halves hold the same angles. blocks, places [T]: where K and V
    go. table [R, W]: every request fills `context` tokens of it.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    blocks: torch.Tensor
    places: torch.Tensor
    table: torch.Tensor
    context: int
    count: int


def eager_step(step: StepInput, rope: torch.Tensor, tokens_per_block: int) -> EagerStep:
    """The step's inputs on the rotary table's device; requests of equal lengths."""
    device = rope.device
    cos, sin = rope[step.positions.to(device)].chunk(2, dim=-1)
    slots = step.slots.to(device)
    return EagerStep(
        cos=torch.cat((cos, cos), -1)[:, None].bfloat16(),
        sin=torch.cat((sin, sin), -1)[:, None].bfloat16(),
        blocks=slots // tokens_per_block,
        places=slots % tokens_per_block,
        table=step.block_tables[0].to(device).long(),
        context=int(step.seq_lens[0]),
        count=len(step.token_ids) // len(step.seq_lens),
    )


class EagerLayer:
    """One layer over its weights and cache; weights as stored, or dequantised before.

    FP8: inputs are quantised per token by elementary ops, products are torch._scaled_mm's.
    bfloat16: products of what the stored weights stand for.
    """

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor],
        kv: torch.Tensor,
        geometry: Geometry,
        kept: Weights,
    ) -> None:
        self._weights, self._geometry = weights, geometry
        # float8 has no indexing everywhere; its bytes have.
        self._kv = kv.view(torch.uint8) if kv.dtype == _FP8 else kv
        self._kv_scales = weights.get("kv_scales")
        linears = {name: (weights[name], weights.get(f"{name}_scale")) for name in _LINEARS}
        self._linears: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
            name: _linear(weight, scale, kept) for name, (weight, scale) in linears.items()
        }

    def run(self, x: torch.Tensor, step: EagerStep) -> torch.Tensor:
        """The residual stream [T, H] after the layer; K and V of the step go to the cache."""
        linears, eps = self._linears, self._geometry.eps
        normed = _norm(x, self._weights["input_norm"], eps)
        x = x + linears["dense"](self._attention(linears["qkv"](normed), step))
        gate, up = linears["gate_up"](_norm(x, self._weights["post_norm"], eps)).chunk(2, dim=-1)
        return x + linears["down"](F.silu(gate) * up)

    def _attention(self, qkv: torch.Tensor, step: EagerStep) -> torch.Tensor:
        sizes = self._geometry
        heads = [sizes.heads, sizes.kv_heads, sizes.kv_heads]
        parts = qkv.view(len(qkv), -1, sizes.head_dim)
        q, k, v = torch.split(parts, heads, dim=1)
        q, k = (_rotate(one, step) for one in (q, k))
        self._append(0, k, step)
        self._append(1, v, step)
        keys, values = self._gather(step)
        queries = q.view(-1, step.count, sizes.heads, sizes.head_dim).transpose(1, 2)
        out = F.scaled_dot_product_attention(
            queries, keys, values, is_causal=step.count > 1, enable_gqa=True
        )
        return out.transpose(1, 2).reshape(len(qkv), -1)

    def _append(self, part: int, x: torch.Tensor, step: EagerStep) -> None:
        if self._kv_scales is not None:
            x = (x / self._kv_scales[part]).clamp(-_LARGEST, _LARGEST).to(_FP8).view(torch.uint8)
        self._kv[step.blocks, part, :, step.places] = x

    def _gather(self, step: EagerStep) -> tuple[torch.Tensor, torch.Tensor]:
        """K and V [R, kv_heads, context, D], copied out of the blocks."""
        pages = self._kv[step.table].permute(2, 0, 3, 1, 4, 5).flatten(3, 4)
        if self._kv_scales is not None:
            pages = pages.view(_FP8).to(torch.bfloat16)
            pages = pages.mul_(self._kv_scales[:, None, None, None, None])
        keys, values = pages[:, :, :, : step.context]
        return keys, values


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return norm.reference(x, weight, eps).to(x.dtype)


def _rotate(x: torch.Tensor, step: EagerStep) -> torch.Tensor:
    low, high = x.chunk(2, dim=-1)
    return x * step.cos + torch.cat((-high, low), dim=-1) * step.sin


def _linear(
    weight: torch.Tensor, scale: torch.Tensor | None, kept: Weights
) -> Callable[[torch.Tensor], torch.Tensor]:
    if scale is None or kept == "bfloat16":
        plain = weight if scale is None else dequantise.reference(weight, scale, torch.bfloat16)
        return lambda x: F.linear(x, plain)
    columns, by_channel = weight.t(), scale[None]

    def product(x: torch.Tensor) -> torch.Tensor:
        by_token = (x.abs().amax(-1, keepdim=True).float() / _LARGEST).clamp_min(1e-12)
        codes = (x / by_token).clamp(-_LARGEST, _LARGEST).to(_FP8)
        out: torch.Tensor = torch._scaled_mm(
            codes, columns, scale_a=by_token, scale_b=by_channel,
            bias=None, out_dtype=x.dtype, use_fast_accum=True,
        )  # fmt: skip
        return out

    return product
