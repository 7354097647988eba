"""Ready-made FP8 checkpoints out of a plain one, in the spellings of the tools that make them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

E4M3_MAX = 448.0
Tensors = dict[str, torch.Tensor]


def is_linear(name: str) -> bool:
    return name.endswith("_proj.weight")


def _fp8(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return (weight.float() / scale).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)


def per_tensor(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale = weight.float().abs().amax() / E4M3_MAX
    return _fp8(weight, scale), scale


def per_channel(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale = weight.float().abs().amax(1, keepdim=True) / E4M3_MAX
    return _fp8(weight, scale), scale


def in_blocks(weight: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows, columns = (-(-n // size) for n in weight.shape)
    scale = torch.empty(rows, columns)
    for r in range(rows):
        for c in range(columns):
            block = weight[r * size : (r + 1) * size, c * size : (c + 1) * size]
            scale[r, c] = block.float().abs().amax() / E4M3_MAX
    spread = scale.repeat_interleave(size, 0).repeat_interleave(size, 1)
    return _fp8(weight, spread[: weight.shape[0], : weight.shape[1]]), scale


def rewrite(
    folder: Path, change: Callable[[str, torch.Tensor], Tensors], config: dict[str, Any] | None
) -> Path:
    """Put what `change` makes of each linear in its place, and the config's quantisation."""
    tensors: Tensors = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        tensors |= change(name, weight) if is_linear(name) else {name: weight}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "config.json"
    plain = json.loads(file.read_text())
    if config is not None:
        file.write_text(json.dumps({**plain, "quantization_config": config}))
    return folder


def add_tensors(folder: Path, more: Tensors) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, **more}, folder / "model.safetensors", metadata={"format": "pt"})


def input_scale(name: str) -> torch.Tensor:
    """Some scale that differs from linear to linear, as large as inputs ask for."""
    return torch.tensor(0.01 + 0.001 * (sum(map(ord, name)) % 7))


def _static(name: str, weight: torch.Tensor) -> Tensors:
    module = name.removesuffix(".weight")
    q, scale = per_tensor(weight)
    return {name: q, f"{module}.weight_scale": scale, f"{module}.input_scale": input_scale(name)}


def modelopt(folder: Path, layers: int = 2) -> Path:
    """FP8 per tensor with KV scales, said in hf_quant_config.json."""
    rewrite(folder, _static, None)
    kv: Tensors = {}
    for layer in range(layers):
        attention = f"model.layers.{layer}.self_attn"
        kv[f"{attention}.k_proj.k_scale"] = torch.tensor(0.02 + layer)
        kv[f"{attention}.v_proj.v_scale"] = torch.tensor(0.03 + layer)
    add_tensors(folder, kv)
    said = {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8", "exclude_modules": ["lm_head"]}
    (folder / "hf_quant_config.json").write_text(
        json.dumps({"producer": {"name": "modelopt", "version": "0.29.0"}, "quantization": said})
    )
    return folder


def auto_fp8(folder: Path, scheme: str = "static") -> Path:
    """quant_method fp8, per tensor."""

    def change(name: str, weight: torch.Tensor) -> Tensors:
        made = _static(name, weight)
        if scheme == "dynamic":
            del made[name.removesuffix(".weight") + ".input_scale"]
        return made

    config = {
        "quant_method": "fp8",
        "activation_scheme": scheme,
        "ignored_layers": ["lm_head"],
        "kv_cache_scheme": None,
    }
    return rewrite(folder, change, config)


def blocks(folder: Path, size: int = 48) -> Path:
    """quant_method fp8 with weight_block_size; 48 divides none of the tiny model's sizes."""

    def change(name: str, weight: torch.Tensor) -> Tensors:
        q, scale = in_blocks(weight, size)
        return {name: q, name.removesuffix(".weight") + ".weight_scale_inv": scale}

    config = {
        "quant_method": "fp8",
        "fmt": "e4m3",
        "activation_scheme": "dynamic",
        "weight_block_size": [size, size],
        "modules_to_not_convert": ["lm_head"],
    }
    return rewrite(folder, change, config)


EIGHT_BITS = {"num_bits": 8, "type": "float", "symmetric": True, "actorder": None}


def compressed(folder: Path, **fields: Any) -> Path:
    """compressed-tensors, float-quantized per channel with inputs per token."""

    def change(name: str, weight: torch.Tensor) -> Tensors:
        q, scale = per_channel(weight)
        return {name: q, name.removesuffix(".weight") + ".weight_scale": scale.bfloat16()}

    group = {
        "targets": ["Linear"],
        "weights": {**EIGHT_BITS, "strategy": "channel", "dynamic": False, "observer": "minmax"},
        "input_activations": {**EIGHT_BITS, "strategy": "token", "dynamic": True},
        "output_activations": None,
    }
    config = {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "sparsity_config": {},
        "transform_config": {},
        "version": "0.10.2",
        **fields,
    }
    return rewrite(folder, change, config)
