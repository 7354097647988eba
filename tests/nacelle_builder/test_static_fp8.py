"""Static FP8 and the FP8 KV cache in the checkpoint: names, shapes, formulas."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from nacelle_builder.calibrate.scales import KvScale, Scales
from nacelle_builder.convert.checkpoint import open_checkpoint
from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.convert.quantize import (
    QuantizedLinear,
    dequantize,
    join_per_tensor,
    quantize_per_tensor,
)
from nacelle_builder.gate.weights import check_weights
from nacelle_builder.source.files import find_checkpoint
from nacelle_builder.source.weights import open_weights
from nacelle_engine.errors import FidelityFailed
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.precision import Quantization

STATIC = Quantization(algorithm="FP8", kv_cache="FP8")
QKV = "transformer.layers.1.attention.qkv"


def quiet(percent, message):
    """No progress."""


def scales_for(model):
    names = [t.name for t in checkpoint_tensors(model.spec) if t.linear]
    return Scales(
        inputs={name: 0.01 * (n + 1) for n, name in enumerate(names)},
        kv=(KvScale(k=0.5, v=0.25), KvScale(k=0.125, v=2.0)),
    )


@pytest.fixture
def source(tiny):
    return read_model(find_checkpoint(tiny))


@pytest.fixture
def rank(source, tmp_path):
    convert(source, STATIC, tmp_path / "c", quiet, scales_for(source))
    return tmp_path / "c" / "rank0.safetensors"


def weights_leg(source, rank, quantization=STATIC):
    with open_weights(source.index, source.stored) as reader, open_checkpoint(rank) as checkpoint:
        return check_weights(source.spec, source.sources, reader, checkpoint, quantization)


def test_every_linear_has_its_two_factors(source, rank):
    made = load_file(rank)
    scales = scales_for(source)
    for name, scale in scales.inputs.items():
        assert made[name].dtype == torch.float8_e4m3fn
        module = name.removesuffix(".weight")
        for factor in ("weights_scaling_factor", "activation_scaling_factor"):
            tensor = made[f"{module}.{factor}"]
            assert (tensor.dtype, tensor.shape) == (torch.float32, (1,))
        assert float(made[f"{module}.activation_scaling_factor"]) == pytest.approx(scale)
    assert not [name for name in made if name.endswith("per_channel_scale")]


def test_the_kv_cache_has_one_factor_of_the_formats_and_two_of_ours(rank):
    made = load_file(rank)
    factors = {
        kind: [float(made[f"transformer.layers.{n}.attention.{kind}"]) for n in range(2)]
        for kind in ("kv_cache_scaling_factor", "k_cache_scaling_factor", "v_cache_scaling_factor")
    }
    assert factors == {
        "kv_cache_scaling_factor": [0.5, 2.0],
        "k_cache_scaling_factor": [0.5, 0.125],
        "v_cache_scaling_factor": [0.25, 2.0],
    }


def test_the_config_says_fp8(rank):
    config = json.loads((rank.parent / "config.json").read_text())
    assert config["quantization"] == {
        "quant_algo": "FP8",
        "kv_cache_quant_algo": "FP8",
        "exclude_modules": ["lm_head"],
    }


def test_qkv_has_the_largest_scale_of_its_three(source, rank):
    plain = load_file(source.index.entries["lm_head.weight"].file)
    largest = max(
        float(plain[f"model.layers.1.self_attn.{x}_proj.weight"].float().abs().max()) for x in "qkv"
    )
    made = load_file(rank)
    assert float(made[f"{QKV}.weights_scaling_factor"]) == pytest.approx(largest / 448)
    assert float(made[f"{QKV}.weight"].float().abs().max()) == 448


def test_fc_and_gate_have_the_largest_scale_of_the_two(model, tmp_path, edit_tensors):
    def change(tensors):
        tensors["model.layers.0.mlp.up_proj.weight"] *= 0.001
        tensors["model.layers.1.mlp.gate_proj.weight"] *= 0

    edit_tensors(model, change)
    source = read_model(find_checkpoint(model))
    plain = load_file(model / "model.safetensors")
    convert(source, STATIC, tmp_path / "c", quiet, scales_for(source))
    made = load_file(tmp_path / "c" / "rank0.safetensors")
    for layer, larger in ((0, "gate_proj"), (1, "up_proj")):
        largest = float(plain[f"model.layers.{layer}.mlp.{larger}.weight"].abs().max())
        for name in ("fc", "gate"):
            factor = made[f"transformer.layers.{layer}.mlp.{name}.weights_scaling_factor"]
            assert float(factor) == pytest.approx(largest / 448)
    # The smaller weights lie among the subnormal numbers, which the gate allows for.
    weights_leg(source, tmp_path / "c" / "rank0.safetensors")


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (17, 48)])
@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_quantising_per_tensor_errs_by_at_most_half_a_step(shape, size):
    weight = size * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    linear = quantize_per_tensor(weight)
    assert linear.scale.shape == (1,)
    error = (dequantize(linear.weight, linear.scale) - weight).abs()
    step = torch.maximum(weight.abs() * 2**-4, linear.scale * 2**-10)
    assert bool((error <= step * 1.001).all())


def test_a_tensor_of_zeros_gets_scale_1():
    assert float(quantize_per_tensor(torch.zeros(3, 4)).scale) == 1


def test_joining_rounds_only_what_has_a_smaller_scale():
    generator = torch.Generator().manual_seed(1)
    parts = [
        quantize_per_tensor(size * torch.randn(4, 16, generator=generator)) for size in (1, 0.3)
    ]
    joined = join_per_tensor(parts)
    assert torch.equal(joined.scale, parts[0].scale)
    assert torch.equal(joined.weight[:4].view(torch.uint8), parts[0].weight.view(torch.uint8))
    small = dequantize(parts[1].weight, parts[1].scale)
    error = (dequantize(joined.weight[4:], joined.scale) - small).abs()
    assert float(error.max()) > 0
    assert bool((error <= torch.maximum(small.abs() * 2**-4, joined.scale * 2**-10) * 1.001).all())


def test_joining_equal_scales_changes_nothing():
    part = quantize_per_tensor(torch.randn(4, 16, generator=torch.Generator().manual_seed(2)))
    joined = join_per_tensor([part, QuantizedLinear(part.weight, part.scale.clone())])
    assert torch.equal(joined.weight.view(torch.uint8)[4:], part.weight.view(torch.uint8))


def test_rounding_alone_passes_the_weights_leg(source, rank):
    assert 0.02 < weights_leg(source, rank) < 0.03


@pytest.mark.parametrize("factor", [1.05, 0.95])
def test_a_wrong_factor_is_named(source, rank, factor):
    tensors = load_file(rank)
    tensors[f"{QKV}.weights_scaling_factor"] *= factor
    save_file(tensors, rank)
    with pytest.raises(FidelityFailed, match=rf"{QKV}\.weight.* scales? (is|are) wrong"):
        weights_leg(source, rank)


def test_an_outlier_costs_the_small_weights_their_bits_and_passes(model, tmp_path, edit_tensors):
    name = "model.layers.0.mlp.down_proj.weight"

    def change(tensors):
        tensors[name] *= 0.001
        tensors[name][0, 0] = 40.0

    edit_tensors(model, change)
    source = read_model(find_checkpoint(model))
    convert(source, STATIC, tmp_path / "c", quiet, scales_for(source))
    assert weights_leg(source, tmp_path / "c" / "rank0.safetensors") < 0.04
