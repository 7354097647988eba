"""The GPU's table, over an interpreted GPU: every figure follows from times and ceilings."""

import json

import pytest
import torch
from interpreted_gpu import open_interpreted
from tiny_llama import CONFIG, random_model, write_weights

from nacelle_bench import gpu, mixed
from nacelle_bench.gpu_machine import driver_version
from nacelle_bench.settings import Ceilings, Mixed, Prompts, Settings
from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_engine.limits import Limits
from nacelle_engine.model.family import read_spec
from nacelle_engine.recipe import Recipe

ONE_LAYER = {**CONFIG, "num_hidden_layers": 1}
SPEC = read_spec(ONE_LAYER)
# Interpreted kernels know no dependent launch: an architecture without.
RECIPE = Recipe(
    architecture="sm_89",
    limits=Limits(max_batch_size=2, max_input_len=30, max_seq_len=32, max_num_tokens=12),
)


@pytest.fixture
def program(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
    monkeypatch.setattr(gpu, "gpu_read_bandwidth", lambda device: 2e9)
    monkeypatch.setattr(gpu, "matrix_rate", lambda device: (3e12, "FP8"))
    write_weights(random_model(ONE_LAYER), RECIPE.quantization, tmp_path, ONE_LAYER)
    chosen, _ = decide(places(SPEC, RECIPE), {}, "no GPU")
    lowered = lower(SPEC, RECIPE, chosen)
    signature = signature_of(SPEC, RECIPE)
    return open_interpreted(monkeypatch, tmp_path, signature, lowered, captured_tokens=8)


@pytest.mark.slow
def test_rows_and_facts(program):
    settings = Settings(prompt=3, tokens=3, rounds=1, prefill=(Prompts(3, 5),))
    table = gpu.bench_gpu(program, "key", settings)
    found = json.loads(table.json())
    assert (found["bundle"], found["gpu"], found["torch"]) == ("key", "A GPU", torch.__version__)
    assert (found["read_gb_s"], found["matrix_tflop_s"]) == (2.0, 3.0)
    assert found["matrix_by"] == "measured: one large FP8 product"
    (row,) = found["rows"]
    assert (row["batch"], row["context"], row["launches_per_layer"]) == (1, 4, 5)
    # The weights' bytes, and 4 tokens' of the cache, at 2 GB/s.
    bytes_read = program.signature.weight_bytes_per_step + 256 * 4.5
    assert row["floor_ms"] == round(1000 * bytes_read / 2e9, 4)
    assert row["percent_of_floor"] <= 100 and row["step_ms"] >= row["floor_ms"]
    (prefill,) = found["prefill"]
    assert (prefill["prompts"], prefill["length"], prefill["tokens_a_step"]) == (3, 5, 10)
    assert prefill["launches_per_layer"] == 6
    assert prefill["tok_s"] == pytest.approx(15 / prefill["seconds"], rel=0.01)
    assert "prefill:" in table.text()


def test_ceilings_that_are_given_are_not_measured(program, monkeypatch):
    monkeypatch.setattr(gpu, "_BATCHES", ())
    settings = Settings(prompt=2, tokens=2, rounds=1, ceilings=Ceilings(1000.0, 100.0))
    facts = gpu.bench_gpu(program, "key", settings).facts
    assert (facts["read_gb_s"], facts["read_by"]) == (1000.0, "stated")
    assert (facts["matrix_tflop_s"], facts["matrix_by"]) == (100.0, "stated")


@pytest.mark.slow
def test_a_mixed_step_as_a_graph_and_launch_by_launch(program, monkeypatch):
    monkeypatch.setattr(gpu, "_BATCHES", (1,))
    monkeypatch.setattr(mixed, "_STEPS", 1)
    settings = Settings(
        prompt=2, tokens=2, rounds=1, mixed=(Mixed(1, 7),), ceilings=Ceilings(1000.0, 100.0)
    )
    (row,) = gpu.bench_gpu(program, "key", settings).others["mixed"]
    assert (row["decodes"], row["prompt_tokens"], row["context"]) == (1, 7, 3)
    assert row["same_tokens"] == "2 of 2" and row["difference"] < 1e-5
    assert all(
        row[f"{way}_{kind}_ms"] > 0 for way in ("graph", "launches") for kind in ("step", "alone")
    )


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar", "550.54.15"),
        (
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build",
            "580.95.05",
        ),
        ("something else", None),
    ],
)
def test_the_drivers_version(tmp_path, line, version):
    (tmp_path / "version").write_text(line + "\nGCC version: 12.2.0\n")
    assert driver_version(tmp_path / "version") == version


def test_a_machine_without_the_driver_tells_no_version(tmp_path):
    assert driver_version(tmp_path / "version") is None
