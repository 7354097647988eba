"""TensorRT-LLM's checkpoints as a source: read back as they were written, and served alike."""

import json

import families
import pytest
import torch
from safetensors.torch import load_file, save_file

from nacelle_builder.calibrate.scales import KvScale, Scales
from nacelle_builder.calibrate.stored_scales import stored_scales
from nacelle_builder.convert.checkpoint import RANK0, open_checkpoint
from nacelle_builder.convert.convert import convert, read_model
from nacelle_builder.eager_model import load_eager
from nacelle_builder.gate.reference import Reference
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.errors import InvalidRequest, TensorMissing, UnsupportedModel
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.precision import Quantization

QUANTIZATIONS = [
    Quantization(algorithm="NONE", compute_type="float32"),
    Quantization(algorithm="FP8_PER_CHANNEL_PER_TOKEN", compute_type="float32"),
    Quantization(algorithm="FP8", kv_cache="FP8", compute_type="float32"),
]


def written(name, quantization, root):
    """(a Hugging Face folder, the checkpoint that a build writes of it, its static scales)."""
    folder = families.save(name, root / "hf")
    model = read_model(find_checkpoint(folder))
    linears = [one.name for one in checkpoint_tensors(model.spec) if one.linear]
    # mlp.fc and mlp.gate read the same input.
    inputs = {name: 0.01 + len(name.replace("gate", "fc")) / 1e4 for name in linears}
    kv = tuple(KvScale(k=0.02 + n, v=0.03 + n) for n in range(model.spec.num_layers))
    scales = Scales(inputs=inputs, kv=kv)
    convert(model, quantization, root / "first", lambda *_: None, scales)
    (root / "first" / "tokenizer.json").write_text("{}")
    return folder, root / "first", scales


@pytest.mark.slow
@pytest.mark.parametrize("quantization", QUANTIZATIONS, ids=lambda one: one.algorithm)
@pytest.mark.parametrize("name", families.NAMES)
def test_a_checkpoint_read_and_written_again_is_itself(tmp_path, name, quantization):
    _, first, scales = written(name, quantization, tmp_path)
    again = read_model(find_checkpoint(first))
    found = stored_scales(again)
    if quantization.calibrated:
        assert [one.k for one in found.kv] == pytest.approx([one.k for one in scales.kv])
        assert [one.v for one in found.kv] == pytest.approx([one.v for one in scales.kv])
        assert found.inputs == pytest.approx(scales.inputs)
    convert(again, quantization, tmp_path / "second", lambda *_: None, found)
    assert (tmp_path / "second" / "config.json").read_text() == (first / "config.json").read_text()
    one, two = load_file(first / RANK0), load_file(tmp_path / "second" / RANK0)
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        assert torch.equal(tensor.view(torch.uint8), two[key].view(torch.uint8)), key


@pytest.mark.slow
@pytest.mark.parametrize("name", families.NAMES)
def test_transformers_gives_the_same_logits_for_it(tmp_path, name):
    folder, first, _ = written(name, QUANTIZATIONS[0], tmp_path)
    ids = torch.randint(families.VOCAB, (1, 60), generator=torch.Generator().manual_seed(0))
    wanted, found = (
        Reference(load_eager(path, torch.float32)).logits(ids) for path in (folder, first)
    )
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_fp8_weights_are_what_the_gates_reference_takes(tmp_path):
    folder, first, _ = written("llama", QUANTIZATIONS[1], tmp_path)
    model = read_model(find_checkpoint(first))
    reference = Reference.load(folder)
    with open_checkpoint(first / RANK0) as checkpoint:
        reference.take_weights(model.spec, model.names, checkpoint)
    ids = torch.arange(40)[None]
    found = Reference(load_eager(first, torch.float32)).logits(ids)
    torch.testing.assert_close(found, reference.logits(ids))


def test_its_own_one_scale_of_the_cache_serves_keys_and_values(tmp_path):
    _, first, scales = written("llama", QUANTIZATIONS[2], tmp_path)
    tensors = {
        name: tensor
        for name, tensor in load_file(first / RANK0).items()
        if not name.endswith(("k_cache_scaling_factor", "v_cache_scaling_factor"))
        or name.endswith("kv_cache_scaling_factor")
    }
    save_file(tensors, first / RANK0)
    found = stored_scales(read_model(find_checkpoint(first)))
    assert [one.k for one in found.kv] == [one.v for one in found.kv]
    assert found.kv[0].k == pytest.approx(max(scales.kv[0].k, scales.kv[0].v))


def changed(folder, **fields):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    return folder


def test_a_qwen_in_its_own_words_has_no_bias_of_dense(tmp_path):
    _, first, _ = written("qwen2", QUANTIZATIONS[0], tmp_path)
    config = json.loads((first / "config.json").read_text())
    del config["dense_bias"]
    own = config | {"architecture": "QWenForCausalLM", "qwen_type": "qwen2"}
    (first / "config.json").write_text(json.dumps(own))
    spec = read_model(find_checkpoint(first)).spec
    assert spec.family == "qwen2" and spec.qkv_bias and not spec.dense_bias


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"mapping": {"world_size": 2, "tp_size": 2}},
            "mapping: world_size 2 is not supported; supported: 1",
        ),
        (
            {"position_embedding_type": "alibi"},
            "position_embedding_type 'alibi' is not supported; supported: 'rope_gpt_neox'",
        ),
        (
            {"architecture": "GPTForCausalLM"},
            "architecture 'GPTForCausalLM' is not supported; known are LlamaForCausalLM",
        ),
        (
            {"quantization": {"quant_algo": "W4A16_AWQ"}},
            "quantization: quant_algo 'W4A16_AWQ' is not supported; supported: 'FP8'",
        ),
        (
            {"layer_types": ["full_attention", "sliding_attention"]},
            "layer_types ['full_attention', 'sliding_attention'] is not supported for "
            "LlamaForCausalLM, whose layers are all of one kind",
        ),
        ({"moe": {"num_experts": 8}}, "moe {'num_experts': 8} is not known here"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, fields, message):
    _, first, _ = written("llama", QUANTIZATIONS[0], tmp_path)
    with pytest.raises(UnsupportedModel) as refused:
        read_model(find_checkpoint(changed(first, **fields)))
    assert message in str(refused.value)


def test_another_algorithm_than_it_holds_is_refused(tmp_path):
    _, first, _ = written("llama", QUANTIZATIONS[1], tmp_path)
    with pytest.raises(InvalidRequest, match="ask for FP8_PER_CHANNEL_PER_TOKEN"):
        model = read_model(find_checkpoint(first))
        convert(model, Quantization(algorithm="FP8"), tmp_path / "c", lambda *_: None)


def test_a_missing_scale_is_named(tmp_path):
    _, first, _ = written("llama", QUANTIZATIONS[2], tmp_path)
    tensors = load_file(first / RANK0)
    del tensors["transformer.layers.1.mlp.proj.activation_scaling_factor"]
    save_file(tensors, first / RANK0)
    with pytest.raises(TensorMissing, match=r"layers\.1\.mlp\.proj\.activation_scaling_factor"):
        model = read_model(find_checkpoint(first))
        convert(model, QUANTIZATIONS[2], tmp_path / "c", lambda *_: None, stored_scales(model))


def test_an_engine_of_tensorrt_llm_is_refused_by_name(tmp_path):
    (tmp_path / "config.json").write_text('{"pretrained_config": {}, "build_config": {}}')
    (tmp_path / "rank0.engine").touch()
    with pytest.raises(UnsupportedModel) as refused:
        find_checkpoint(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} holds an engine that TensorRT-LLM compiled (rank0.engine): its weights cannot "
        "be read back; give the checkpoint that it was built from (config.json and "
        "rank0.safetensors)"
    )
