"""Ready-made FP8 checkpoints: read as they are, checked, and refused by name where they are not."""

import json
import re

import pytest
import ready_made
import torch
from safetensors.torch import load_file

from nacelle_builder.calibrate.stored_scales import stored_scales
from nacelle_builder.convert.checkpoint import open_checkpoint
from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.eager_model import load_eager
from nacelle_builder.gate.weights import check_weights
from nacelle_builder.source.files import find_checkpoint
from nacelle_builder.source.weights import open_weights
from nacelle_engine.errors import (
    InvalidModel,
    InvalidRequest,
    TensorInvalid,
    TensorMissing,
    TensorUnexpected,
    UnsupportedModel,
)
from nacelle_engine.precision import Quantization

PER_TOKEN = Quantization()
STATIC = Quantization(algorithm="FP8")
UP = "model.layers.1.mlp.up_proj"
DOWN = "model.layers.1.mlp.down_proj"
GATE = "transformer.layers.1.mlp.gate"
PROJ = "transformer.layers.1.mlp.proj"
QKV = "transformer.layers.1.attention.qkv"


def converted(folder, out, quantization, said=None):
    model = read_model(find_checkpoint(folder))
    report = (lambda percent, message: None) if said is None else lambda p, m: said.append(m)
    convert(model, quantization, out, report, stored_scales(model))
    rank = out / "rank0.safetensors"
    with open_weights(model.index, model.stored) as source, open_checkpoint(rank) as checkpoint:
        error = check_weights(model.spec, model.sources, source, checkpoint, quantization)
    return load_file(rank), error


def same(ours, theirs):
    return torch.equal(ours.view(torch.uint8), theirs.view(torch.uint8))


@pytest.mark.parametrize("make", [ready_made.modelopt, ready_made.auto_fp8])
def test_static_per_tensor_is_taken_as_it_is(model, tmp_path, make):
    source = load_file(make(model) / "model.safetensors")
    said = []
    made, error = converted(model, tmp_path / "c", STATIC, said)
    assert said[-1].endswith("is taken as it is; qkv, and gate with up, get their largest scale")
    assert same(made[f"{PROJ}.weight"], source[f"{DOWN}.weight"])
    assert float(made[f"{PROJ}.weights_scaling_factor"]) == float(source[f"{DOWN}.weight_scale"])
    # Only what is joined is rounded once more, to the largest of its scales.
    assert 0 < error < 0.04
    attention = "model.layers.1.self_attn"
    scales = [float(source[f"{attention}.{x}_proj.weight_scale"]) for x in "qkv"]
    assert float(made[f"{QKV}.weights_scaling_factor"]) == max(scales)
    inputs = [float(source[f"{attention}.{x}_proj.input_scale"]) for x in "qkv"]
    assert float(made[f"{QKV}.activation_scaling_factor"]) == max(inputs)


def test_gate_and_up_share_the_larger_scales_of_input_and_weights(model, tmp_path, edit_tensors):
    def widen(tensors):
        tensors["model.layers.0.mlp.up_proj.weight"] *= 0.3

    edit_tensors(model, widen)
    source = load_file(ready_made.modelopt(model) / "model.safetensors")
    made, _ = converted(model, tmp_path / "c", STATIC)
    mlp = "model.layers.0.mlp"
    weights = {x: float(source[f"{mlp}.{x}_proj.weight_scale"]) for x in ("gate", "up")}
    inputs = [float(source[f"{mlp}.{x}_proj.input_scale"]) for x in ("gate", "up")]
    assert weights["gate"] > 2 * weights["up"]
    for ours, theirs in (("fc", "gate"), ("gate", "up")):
        linear, stored = f"transformer.layers.0.mlp.{ours}", source[f"{mlp}.{theirs}_proj.weight"]
        assert float(made[f"{linear}.activation_scaling_factor"]) == max(inputs)
        assert float(made[f"{linear}.weights_scaling_factor"]) == weights["gate"]
        assert same(made[f"{linear}.weight"], stored) == (theirs == "gate")
        wanted = stored.float() * weights[theirs]
        error = (made[f"{linear}.weight"].float() * weights["gate"] - wanted).norm()
        assert float(error / wanted.norm()) < 0.04


def test_modelopts_kv_scales_are_taken(model, tmp_path):
    made, _ = converted(
        ready_made.modelopt(model), tmp_path / "c", Quantization(algorithm="FP8", kv_cache="FP8")
    )
    attention = "transformer.layers.1.attention"
    assert float(made[f"{attention}.k_cache_scaling_factor"]) == pytest.approx(1.02)
    assert float(made[f"{attention}.v_cache_scaling_factor"]) == pytest.approx(1.03)


def test_per_channel_is_taken_as_it_is(model, tmp_path):
    source = load_file(ready_made.compressed(model) / "model.safetensors")
    said = []
    made, error = converted(model, tmp_path / "c", PER_TOKEN, said)
    assert error == 0
    assert same(made[f"{GATE}.weight"], source[f"{UP}.weight"])
    scale = source[f"{UP}.weight_scale"].flatten().float()
    assert torch.equal(made[f"{GATE}.per_channel_scale"], scale)
    assert "FP8 per output channel with per-token inputs (compressed-tensors in" in said[-1]
    assert said[-1].endswith("is taken as it is")


def test_per_tensor_with_dynamic_inputs_repeats_its_scale_for_every_channel(model, tmp_path):
    source = load_file(ready_made.auto_fp8(model, "dynamic") / "model.safetensors")
    made, error = converted(model, tmp_path / "c", PER_TOKEN)
    assert error == 0
    scale = source[f"{UP}.weight_scale"]
    assert torch.equal(made[f"{GATE}.per_channel_scale"], scale.expand(128))


def test_blocks_are_quantised_anew_and_it_is_said(model, tmp_path):
    plain = load_file(model / "model.safetensors")[f"{UP}.weight"].float()
    ready_made.blocks(model)
    said = []
    made, error = converted(model, tmp_path / "c", PER_TOKEN, said)
    assert 0 < error < 0.04
    assert said[-1].endswith("is dequantised and quantised anew per output channel")
    found = made[f"{GATE}.weight"].float() * made[f"{GATE}.per_channel_scale"][:, None]
    # Rounded twice: sqrt(2) times E4M3's 0.026.
    assert float((found - plain).norm() / plain.norm()) < 0.05


@pytest.mark.parametrize(
    "make", [ready_made.modelopt, ready_made.blocks, ready_made.compressed, ready_made.auto_fp8]
)
def test_the_eager_model_has_the_dequantised_weights(model, make):
    plain = load_eager(model, torch.float32)
    make(model)
    eager = load_eager(model, torch.float32)
    ids = torch.arange(20)[None]
    with torch.inference_mode():
        wanted, found = plain(ids).logits, eager(ids).logits
    assert 0.001 < float((found - wanted).norm() / wanted.norm()) < 0.2
    source = read_model(find_checkpoint(model))
    with open_weights(source.index, source.stored) as weights:
        assert torch.equal(eager.get_parameter(f"{UP}.weight"), weights.read(f"{UP}.weight"))


@pytest.mark.parametrize(
    ("make", "asked", "message"),
    [
        (
            ready_made.modelopt,
            PER_TOKEN,
            "quantization.algorithm FP8_PER_CHANNEL_PER_TOKEN cannot be made of this checkpoint: "
            "it holds FP8 per tensor with static inputs (modelopt FP8 in {root}/"
            "hf_quant_config.json); ask for FP8, or give the unquantised model",
        ),
        (
            ready_made.blocks,
            STATIC,
            "quantization.algorithm FP8 cannot be made of this checkpoint: it holds FP8 in blocks "
            "with per-token inputs (fp8 in {root}/config.json: quantization_config); ask for "
            "FP8_PER_CHANNEL_PER_TOKEN, or give the unquantised model",
        ),
        (
            ready_made.compressed,
            Quantization(algorithm="NONE"),
            "quantization.algorithm NONE cannot be made of this checkpoint: it holds FP8 per "
            "output channel with per-token inputs (compressed-tensors in {root}/config.json: "
            "quantization_config); ask for FP8_PER_CHANNEL_PER_TOKEN, or give the unquantised "
            "model",
        ),
    ],
)
def test_another_algorithm_than_the_checkpoints_is_refused(model, tmp_path, make, asked, message):
    make(model)
    with pytest.raises(InvalidRequest) as refused:
        convert(read_model(find_checkpoint(model)), asked, tmp_path / "c", lambda p, m: None)
    assert str(refused.value) == message.format(root=model)


def _put(name, value):
    return lambda tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            _put(f"{UP}.weight_scale", torch.tensor(0.0)),
            TensorInvalid,
            "up_proj.weight_scale holds the scale 0; scales must be above 0",
        ),
        (
            _put(f"{UP}.weight_scale", torch.tensor(-0.5)),
            TensorInvalid,
            "up_proj.weight_scale holds the scale -0.5; scales must be above 0",
        ),
        (
            _put(f"{UP}.weight_scale", torch.tensor(float("nan"))),
            TensorInvalid,
            "tensor model.layers.1.mlp.up_proj.weight_scale holds NaN",
        ),
        (
            _put(f"{UP}.input_scale", torch.tensor(0.0)),
            TensorInvalid,
            "up_proj.input_scale holds the scale 0;",
        ),
        (
            _put(f"{UP}.weight_scale", torch.ones(7)),
            TensorInvalid,
            "up_proj.weight_scale has shape [7], while FP8 per tensor with static inputs",
        ),
        (
            _put(f"{UP}.weight", torch.ones(128, 64, dtype=torch.bfloat16)),
            TensorInvalid,
            "tensor model.layers.1.mlp.up_proj.weight is BF16, while modelopt FP8 in",
        ),
        (
            _put(f"{UP}.weight", torch.full((128, 64), float("nan")).to(torch.float8_e4m3fn)),
            TensorInvalid,
            "tensor model.layers.1.mlp.up_proj.weight holds NaN",
        ),
        (
            lambda tensors: tensors.pop(f"{UP}.weight_scale"),
            TensorMissing,
            "tensor model.layers.1.mlp.up_proj.weight_scale is in no safetensors file; modelopt",
        ),
        (
            lambda tensors: tensors.pop(f"{UP}.input_scale"),
            TensorMissing,
            "tensor model.layers.1.mlp.up_proj.input_scale is in no safetensors file, and modelopt",
        ),
        (
            lambda tensors: tensors.pop("model.layers.1.self_attn.v_proj.v_scale"),
            TensorMissing,
            "tensor model.layers.1.self_attn.v_proj.v_scale is in no safetensors file, while "
            "model.layers.1.self_attn.k_proj.k_scale is",
        ),
        (
            lambda tensors: [
                tensors.pop(f"model.layers.1.self_attn.{x}_proj.{x}_scale") for x in "kv"
            ],
            TensorMissing,
            "layer 1 has no scales of keys and values, while",
        ),
        (
            _put("model.layers.0.self_attn.k_proj.k_scale", torch.ones(2)),
            TensorInvalid,
            "k_scale has shape [2]; a scale of keys or values is one number",
        ),
        (
            _put(f"{UP}.weight_zero_point", torch.zeros(1)),
            TensorUnexpected,
            "tensor model.layers.1.mlp.up_proj.weight_zero_point and 0 more are left over",
        ),
        (
            _put("lm_head.weight", torch.zeros(320, 64).to(torch.float8_e4m3fn)),
            TensorInvalid,
            "tensor lm_head.weight is F8_E4M3; F32, BF16, F16 can be converted",
        ),
    ],
)
def test_a_bad_tensor_is_named(model, tmp_path, edit_tensors, change, error, message):
    edit_tensors(ready_made.modelopt(model), change)
    with pytest.raises(error, match=re.escape(message)):
        converted(model, tmp_path / "c", STATIC)


def test_an_excluded_linear_is_refused(model, tmp_path):
    ready_made.compressed(model, ignore=["lm_head", r"re:.*layers\.1\.mlp\.up_proj"])
    with pytest.raises(TensorInvalid, match=f"leaves {re.escape(UP)} unquantised"):
        converted(model, tmp_path / "c", PER_TOKEN)


def group(**fields):
    part = {
        "targets": ["Linear"],
        "weights": {**ready_made.EIGHT_BITS, "strategy": "channel"},
        "input_activations": {**ready_made.EIGHT_BITS, "strategy": "token", "dynamic": True},
    }
    for name, value in fields.items():
        outer, _, inner = name.partition("__")
        if inner:
            part[outer] = {**part[outer], inner: value}
        else:
            part[outer] = value
    return {"group_0": part}


COMPRESSED = {"quant_method": "compressed-tensors", "format": "float-quantized"}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"quant_method": "gptq", "bits": 4},
            "quant_method 'gptq' is not supported; supported are modelopt, compressed-tensors, fp8 "
            "in FP8, and plain bfloat16 or float16 checkpoints",
        ),
        ({"bits": 4}, "quant_method None is not supported"),
        ("fp8", "quant_method None is not supported"),
        ({"quant_method": "modelopt", "quant_algo": ["FP8"]}, "quant_algo ['FP8'] is not supp"),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4"},
            "quantization_config: quant_algo 'NVFP4' is not supported; supported: 'FP8', "
            "'FP8_PER_CHANNEL_PER_TOKEN', 'FP8_PB_WO'",
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": {"num_bits": 4}},
            "kv_cache_scheme: num_bits 4 is not supported; supported: 8",
        ),
        (
            {**COMPRESSED, "format": "pack-quantized", "config_groups": group()},
            "format 'pack-quantized' is not supported; supported: 'float-quantized'",
        ),
        (
            {**COMPRESSED, "config_groups": group(weights__actorder="group")},
            "config_groups.group_0: weights: actorder 'group' is not supported",
        ),
        (
            {**COMPRESSED, "config_groups": group(weights__num_bits=4)},
            "weights: num_bits 4 is not supported; supported: 8",
        ),
        (
            {**COMPRESSED, "config_groups": group(weights__group_size=128)},
            "weights: group_size 128 is not known here and could change the numbers",
        ),
        (
            {**COMPRESSED, "config_groups": group(input_activations=None)},
            "input_activations is missing: a checkpoint whose inputs are not quantised has no",
        ),
        (
            {**COMPRESSED, "config_groups": group(input_activations__dynamic=False)},
            "static inputs with weights per output channel are not supported",
        ),
        (
            {**COMPRESSED, "config_groups": group(targets=["re:.*mlp.*"])},
            'targets must be ["Linear"]: all linears in one way',
        ),
        (
            {**COMPRESSED, "config_groups": {**group(), "group_1": {}}},
            "config_groups group_0, group_1: linears quantised in several ways are not supported",
        ),
        (
            {**COMPRESSED, "config_groups": group(), "sparsity_config": {"format": "2of4"}},
            "sparsity_config: format '2of4' is not supported; supported: 'dense'",
        ),
        (
            {**COMPRESSED, "config_groups": group(), "transform_config": {"r1": {"type": "x"}}},
            "transform_config is not supported: weights that were rotated",
        ),
        ({**FP8, "fmt": "e5m2"}, "fmt 'e5m2' is not supported; supported: 'e4m3'"),
        (
            {**FP8, "scale_fmt": "ue8m0"},
            "scale_fmt 'ue8m0' is not supported; supported: 'float'",
        ),
        (
            {**FP8, "activation_scheme": "static", "weight_block_size": [128, 128]},
            "activation_scheme 'static' with weight_block_size is not supported; 'dynamic' is",
        ),
        ({**FP8, "smooth": 0.5}, "smooth 0.5 is not known here and could change the numbers"),
    ],
)
def test_a_config_that_is_not_understood_is_refused(model, edit_config, config, message):
    edit_config(model, quantization_config=config)
    with pytest.raises(UnsupportedModel, match=re.escape(message)):
        read_model(find_checkpoint(model))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**FP8, "weight_block_size": [128]}, "weight_block_size [128] is no pair of sizes"),
        ({**FP8, "ignored_layers": "lm_head"}, "ignored_layers is no list of module names"),
        (COMPRESSED, "config_groups is missing"),
        ({**COMPRESSED, "config_groups": group(), "ignore": ["re:("]}, "ignore 're:(': missing )"),
        (
            {**COMPRESSED, "config_groups": group(), "sparsity_config": ["2of4"]},
            "sparsity_config is no JSON object",
        ),
        ({**COMPRESSED, "config_groups": group(weights=8)}, "weights is no JSON object"),
    ],
)
def test_a_broken_config_is_named(model, edit_config, config, message):
    edit_config(model, quantization_config=config)
    with pytest.raises(InvalidModel, match=re.escape(message)):
        read_model(find_checkpoint(model))


def test_two_configs_that_disagree_are_refused(model, edit_config):
    ready_made.modelopt(model)
    edit_config(
        model,
        quantization_config={
            "quant_method": "modelopt",
            "quant_algo": "FP8_PER_CHANNEL_PER_TOKEN",
        },
    )
    with pytest.raises(InvalidModel, match="the checkpoint contradicts itself"):
        read_model(find_checkpoint(model))


def test_both_of_modelopts_configs_may_say_the_same(model, edit_config):
    ready_made.modelopt(model)
    edit_config(
        model,
        quantization_config={
            "quant_method": "modelopt",
            "quant_algo": "FP8",
            "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
            "config_groups": {"group_0": {"weights": {"num_bits": 8}}},
            "ignore": ["lm_head"],
            "producer": {"name": "modelopt"},
        },
    )
    assert read_model(find_checkpoint(model)).stored.static_inputs


def test_modelopts_blocks_have_scales_of_four_dimensions(model, tmp_path):
    ready_made.blocks(model, size=128)
    tensors = load_file(model / "model.safetensors")
    renamed = {
        name.replace("weight_scale_inv", "weight_scale"): tensor[:, None, :, None]
        if name.endswith("_inv")
        else tensor
        for name, tensor in tensors.items()
    }
    ready_made.save_file(renamed, model / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    del config["quantization_config"]
    (model / "config.json").write_text(json.dumps(config))
    (model / "hf_quant_config.json").write_text(
        json.dumps({"quantization": {"quant_algo": "fp8_pb_wo", "exclude_modules": ["lm_head"]}})
    )
    _, error = converted(model, tmp_path / "c", PER_TOKEN)
    assert 0 < error < 0.04
