"""Calibration: statistics by their formulas, texts, what is observed, and the stage."""

import json

import pytest
import ready_made
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from nacelle_builder.build import Build, Facts, work_folder
from nacelle_builder.calibrate.observe import observe
from nacelle_builder.calibrate.scales import KvScale, Scales, read_scales
from nacelle_builder.calibrate.statistics import Statistic
from nacelle_builder.calibrate.texts import BUILT_IN, calibration_digest, read_samples
from nacelle_builder.eager_model import load_eager
from nacelle_builder.gate.text import TEXT, text_ids
from nacelle_builder.pipeline import Pipeline
from nacelle_builder.settings import HubAccess
from nacelle_builder.stages import calibrate as calibrate_stage
from nacelle_builder.stages import convert as convert_stage
from nacelle_builder.stages import source as source_stage
from nacelle_builder.stages.list import CALIBRATE, CONVERT, SOURCE, stages_of
from nacelle_engine.calibration import Calibration
from nacelle_engine.errors import InvalidModel, InvalidRequest, StoreUnavailable
from nacelle_engine.precision import Quantization
from nacelle_engine.recipe import Recipe
from nacelle_engine.request import BuildRequest, FolderSource, HuggingFaceSource

LIMITS = {"maxBatchSize": 8, "maxInputLen": 100, "maxSeqLen": 256, "maxNumTokens": 128}
STATIC = Quantization(algorithm="FP8", kv_cache="FP8")
PERCENTILE = Calibration(method="Percentile", percentile="99")


def quiet(percent, message):
    """No progress."""


def request_for(folder, store, quantization=STATIC):
    recipe = Recipe(architecture="sm_90", quantization=quantization, limits=LIMITS)
    source = FolderSource(path=str(folder))
    return BuildRequest(model_name="m", folder=source, recipe=recipe, store=str(store))


def build_for(folder, store, quantization=STATIC):
    request = request_for(folder, store, quantization)
    return Build(request=request, work=work_folder(request), access=HubAccess())


def facts_for(folder):
    return Facts(model_folder=str(folder))


def stream(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 7, generator=generator) ** 3 for n in (1, 40, 133)]


def test_the_largest_value_counts():
    statistic = Statistic(Calibration())
    for values in stream():
        statistic.add(values)
    assert statistic.value() == max(float(values.abs().max()) for values in stream())


@pytest.mark.parametrize("percentile", ["50", "99", "99.9", "100"])
def test_a_percentile_is_found_within_a_bin(percentile):
    statistic = Statistic(Calibration(method="Percentile", percentile=percentile))
    for values in stream():
        statistic.add(values)
    every = torch.cat([v.flatten() for v in stream()]).abs().sort().values
    rank = -(-len(every) * round(float(percentile) * 10_000) // 1_000_000)
    exact = float(every[rank - 1])
    assert exact <= statistic.value() <= min(exact * (1 + 2**-7), float(every[-1]))


def test_a_percentile_of_mostly_zeros_is_not_cut_to_nothing():
    statistic = Statistic(Calibration(method="Percentile", percentile="50"))
    statistic.add(torch.tensor([0.0, 0.0, 0.0, 3.0]))
    assert statistic.value() == 3.0


@pytest.mark.parametrize("method", ["AbsMax", "Percentile"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_shows(method, bad):
    statistic = Statistic(Calibration(method=method))
    statistic.add(torch.tensor([1.0, bad]))
    statistic.add(torch.tensor([1.0]))
    assert not statistic.value() < float("inf")


def test_nothing_seen_is_zero():
    assert Statistic(PERCENTILE).value() == 0


def test_the_gates_text_is_not_what_a_model_is_calibrated_on():
    calibrated = {line for line in BUILT_IN.read_text("utf-8").splitlines() if line}
    assert calibrated.isdisjoint(TEXT.read_text("utf-8").splitlines())


def test_the_built_in_texts_make_samples(tiny):
    samples = read_samples(Calibration(), tiny, tiny / "tokenizer.json", 320)
    assert len(samples) > 5
    assert {len(sample) for sample in samples[:-1]} == {512}
    few = read_samples(Calibration(samples=3), tiny, tiny / "tokenizer.json", 320)
    assert few == samples[:3]


def test_each_line_is_a_sample_of_its_own(model):
    lines = [{"text": "The harbour wakes."}, {"text": "Bread", "id": 7}, {"text": "x" * 9000}]
    (model / "data.jsonl").write_text("\n\n".join(json.dumps(line) for line in lines))
    samples = read_samples(Calibration(path="data.jsonl"), model, model / "tokenizer.json", 320)
    assert len(samples) == 3
    assert max(len(sample) for sample in samples[:2]) < 20
    assert len(samples[2]) == 512


def test_how_training_cut_and_padded_texts_does_not_count(model):
    """A tokenizer that a tuned model was saved with; the gate's text is read in the same way."""
    file = model / "tokenizer.json"
    samples = read_samples(Calibration(), model, file, 320)
    ids = text_ids(file, 320)
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding(length=128, pad_id=0)
    tokenizer.save(str(file))
    assert read_samples(Calibration(), model, file, 320) == samples
    assert text_ids(file, 320) == ids


def test_a_sample_begins_as_the_tokenizer_begins_a_sequence(model):
    file = model / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    begin = TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 1)])
    tokenizer.post_processor = begin
    tokenizer.save(str(file))
    samples = read_samples(Calibration(), model, file, 320)
    assert {sample[0] for sample in samples} == {1}
    assert {len(sample) for sample in samples[:-1]} == {512}


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("gone.txt", None, InvalidRequest, "quantization.calibration.path: there is no file "),
        ("a.jsonl", '{"text": "a"}\n{"text": ', InvalidRequest, "a.jsonl: line 2 is not JSON"),
        ("a.jsonl", '{"prompt": "a"}', InvalidRequest, 'line 1 is no JSON object with a "text"'),
        ("a.jsonl", r'{"text": "a \ud83d"}', InvalidRequest, "line 1 is no Unicode: "),
        ("a.txt", "", InvalidRequest, "a.txt holds no text to calibrate on"),
        ("a.txt", b"\xff\xfe", InvalidRequest, "a.txt is no UTF-8"),
    ],
)
def test_bad_texts_are_named(model, name, content, error, message):
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (model / name).write_bytes(data)
    with pytest.raises(error, match=message):
        read_samples(Calibration(path=name), model, model / "tokenizer.json", 320)


def test_a_tokenizer_of_another_model_is_refused(tiny):
    with pytest.raises(InvalidModel, match=r"gives token \d+; config.json has vocab_size 100"):
        read_samples(Calibration(), tiny, tiny / "tokenizer.json", 100)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"percentile": "99.9"}, "calibration.percentile has no meaning with method AbsMax"),
        ({"method": "Percentile", "percentile": "101"}, "percentile"),
        ({"method": "Percentile", "percentile": "99.99999"}, "percentile"),
        ({"path": "/etc/passwd.txt"}, "must be relative to the model's folder"),
        ({"path": "a/../../b.txt"}, "must be relative to the model's folder"),
        ({"path": "a.parquet"}, "must end with .txt .* or .jsonl"),
        ({"samples": 0}, "samples"),
    ],
)
def test_a_wrong_calibration_is_named(fields, message):
    with pytest.raises(ValidationError, match=message):
        Calibration(**fields)


@pytest.mark.parametrize("algorithm", ["NONE", "FP8_PER_CHANNEL_PER_TOKEN"])
def test_calibration_without_a_static_scale_is_refused(algorithm):
    with pytest.raises(ValidationError, match=f"no meaning with algorithm {algorithm} and kvCache"):
        Quantization(algorithm=algorithm, calibration=Calibration())
    assert Quantization(algorithm=algorithm, kv_cache="FP8", calibration=Calibration()).calibrated


def test_a_hub_has_no_folder_for_texts(tmp_path):
    quantization = Quantization(algorithm="FP8", calibration=Calibration(path="a.txt"))
    with pytest.raises(ValidationError, match="a hub's model has none"):
        BuildRequest(
            model_name="m",
            hugging_face=HuggingFaceSource(repo="a/b", revision="0" * 40),
            recipe=Recipe(architecture="sm_90", quantization=quantization),
            store=str(tmp_path),
        )


SAMPLES = [[5, 6, 7, 8, 9], [100], [33, 2, 250, 7]]
LINEARS = {
    "transformer.layers.0.attention.qkv.weight": "model.layers.0.self_attn.q_proj",
    "transformer.layers.1.mlp.proj.weight": "model.layers.1.mlp.down_proj",
}


def test_what_goes_into_linears_and_the_cache_is_observed(tiny):
    eager = load_eager(tiny, torch.float32).eval()
    found = observe(eager, LINEARS, 2, SAMPLES, Calibration(), quiet)
    seen = dict.fromkeys(LINEARS, 0.0)
    keys = [0.0, 0.0]
    for sample in SAMPLES:
        with torch.inference_mode():
            out = eager(torch.tensor([sample]), output_hidden_states=True, use_cache=True)
            first = eager.model.layers[0].input_layernorm(out.hidden_states[0])
        name = next(iter(LINEARS))
        seen[name] = max(seen[name], float(first.abs().max()))
        for n, layer in enumerate(out.past_key_values.layers):
            keys[n] = max(keys[n], float(layer.keys.abs().max()))
    assert found.inputs[name] == pytest.approx(seen[name] / 448, rel=1e-6)
    assert [layer.k for layer in found.kv] == pytest.approx([k / 448 for k in keys], rel=1e-6)
    assert set(found.inputs) == set(LINEARS)
    assert not eager.get_submodule(LINEARS[name])._forward_pre_hooks


def test_a_percentile_gives_smaller_scales(tiny):
    eager = load_eager(tiny, torch.float32).eval()
    whole = observe(eager, LINEARS, 2, SAMPLES, Calibration(), quiet)
    cut = observe(eager, LINEARS, 2, SAMPLES, PERCENTILE, quiet)
    assert all(cut.inputs[name] < whole.inputs[name] for name in LINEARS)
    assert all(c.k < w.k and c.v < w.v for c, w in zip(cut.kv, whole.kv, strict=True))


def test_a_model_that_overflows_is_named(tiny):
    eager = load_eager(tiny, torch.float32).eval()
    eager.model.layers[0].mlp.down_proj.weight.data[0, 0] = float("inf")
    with pytest.raises(InvalidModel, match=r"the input of .* holds NaN or Inf"):
        observe(eager, {"later": "model.layers.1.mlp.up_proj"}, 2, SAMPLES, Calibration(), quiet)


def test_the_stage_leaves_scales_that_convert_writes(tiny, tmp_path):
    build = build_for(tiny, tmp_path)
    calibrate_stage.run(build, facts_for(tiny), quiet)
    scales = read_scales(build.work / "calibration")
    assert (len(scales.inputs), len(scales.kv)) == (2 * 5, 2)
    convert_stage.run(build, facts_for(tiny), quiet)
    made = load_file(build.work / "checkpoint" / "rank0.safetensors")
    name = "transformer.layers.1.mlp.proj"
    found = float(made[f"{name}.activation_scaling_factor"])
    assert found == scales.inputs[f"{name}.weight"]
    assert float(made["transformer.layers.1.attention.v_cache_scaling_factor"]) == scales.kv[1].v


def test_what_is_not_asked_for_is_not_left(tiny, tmp_path):
    build = build_for(tiny, tmp_path, Quantization(kv_cache="FP8"))
    calibrate_stage.run(build, facts_for(tiny), quiet)
    scales = read_scales(build.work / "calibration")
    assert (scales.inputs, len(scales.kv)) == ({}, 2)


def test_scales_that_the_checkpoint_brings_are_taken(model, tmp_path):
    ready_made.modelopt(model)
    said = []
    build = build_for(model, tmp_path)
    calibrate_stage.run(build, facts_for(model), lambda percent, message: said.append(message))
    scales = read_scales(build.work / "calibration")
    assert scales.kv[1] == KvScale(k=float(torch.tensor(1.02)), v=float(torch.tensor(1.03)))
    assert said == [
        "every static scale is in the checkpoint: FP8 per tensor with static inputs (modelopt FP8 "
        f"in {model}/hf_quant_config.json)"
    ]


def test_kv_scales_that_the_checkpoint_lacks_are_observed_on_its_own_weights(model, tmp_path):
    ready_made.auto_fp8(model)
    build = build_for(model, tmp_path)
    calibrate_stage.run(build, facts_for(model), quiet)
    scales = read_scales(build.work / "calibration")
    brought = float(ready_made.input_scale("model.layers.1.mlp.down_proj.weight"))
    assert scales.inputs["transformer.layers.1.mlp.proj.weight"] == pytest.approx(brought)
    assert all(layer.k > 0 for layer in scales.kv)


def test_calibration_of_a_checkpoint_that_brings_all_scales_is_refused(model, tmp_path):
    ready_made.modelopt(model)
    asked = Quantization(algorithm="FP8", calibration=Calibration(samples=4))
    with pytest.raises(InvalidRequest, match=r"has no meaning for this checkpoint: FP8 per tensor"):
        calibrate_stage.run(build_for(model, tmp_path, asked), facts_for(model), quiet)


def test_the_engines_key_holds_what_was_calibrated_on(model, tmp_path):
    (model / "a.txt").write_text("one two three")
    (model / "b.txt").write_text("one two three")
    (tmp_path / "work").mkdir()

    def key(**fields):
        asked = Quantization(algorithm="FP8", calibration=Calibration(**fields) if fields else None)
        facts = source_stage.run(build_for(model, tmp_path, asked), Facts(), quiet)
        assert facts.calibration_digest == calibration_digest(asked, model)
        return facts.engine_key

    assert key() == key(samples=512)
    assert len({key(), key(samples=4), key(path="a.txt"), key(method="Percentile")}) == 4
    before = key(path="a.txt")
    assert key(path="b.txt") == before
    (model / "a.txt").write_text("four")
    assert key(path="a.txt") != before
    assert calibration_digest(Quantization(), model) == ""


def test_a_retry_calibrates_again_only_for_other_texts(model, tmp_path):
    (model / "a.txt").write_text("The harbour wakes before the town does.")
    asked = Quantization(algorithm="FP8", calibration=Calibration(path="a.txt"))

    def done_before():
        said = []
        stages = (SOURCE, CALIBRATE, CONVERT)
        Pipeline(stages, said.append).run(build_for(model, tmp_path, asked), "basis")
        return {p.stage for p in said if p.message == "done by an earlier attempt"}

    assert done_before() == set()
    assert done_before() == {"calibrate", "convert"}
    (model / "a.txt").write_text("Another text.")
    assert done_before() == set()


def test_damaged_scales_are_named(tmp_path):
    (tmp_path / "scales.json").write_text('{"inputs": {}, "kv": [{"k": 0, "v": 1}]}')
    with pytest.raises(StoreUnavailable, match=r"scales\.json is damaged"):
        read_scales(tmp_path)
    assert read_scales(tmp_path / "none") == Scales()


def test_the_stage_stands_before_convert_where_something_is_static(tiny, tmp_path):
    names = [stage.name for stage in stages_of(build_for(tiny, tmp_path))]
    assert names[:3] == ["source", "calibrate", "convert"]
    plain = [stage.name for stage in stages_of(build_for(tiny, tmp_path, Quantization()))]
    assert "calibrate" not in plain
