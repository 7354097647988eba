"""Both backends of one checkpoint on an interpreted GPU, each measured by itself."""

import json

import pytest
import torch
from evaluated_plans import PlannedLlama
from page_bundles import backend_bundle, cpu_bundle
from tiny_gpu import Tiny

from nacelle_bench import backends, engine, gpu
from nacelle_bench.plots import charts
from nacelle_bench.records import read_records
from nacelle_bench.settings import Ceilings, Prompts, Settings
from nacelle_cli.main import main
from nacelle_engine.abi import abi_of
from nacelle_engine.bundle import read_bundle, write_manifest
from nacelle_engine.errors import TargetMismatch
from nacelle_engine.machine import this_machine

SETTINGS = Settings(prompt=3, tokens=3, rounds=1, prefill=(Prompts(2, 5),))
STARTS = [
    {"page_cache": "cold", "ready_s": 4.0, "disk_gb_s": 2.0},
    {"page_cache": "warm", "ready_s": 2.0, "disk_gb_s": 2.0},
]


@pytest.fixture
def bundles(tmp_path):
    return tuple(backend_bundle(tmp_path / name, name).root for name in ("native", "tensorrt"))


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A GPU that is interpreted; gives what was asked of either backend, in order."""
    asked = []

    def measured(bundle, settings):
        asked.append((bundle.root.name, settings))
        kind = PlannedLlama if bundle.root.name == "tensorrt" else Tiny
        with monkeypatch.context() as patch:
            program = kind(patch, tmp_path / f"of-{bundle.root.name}").program
            patch.setattr(engine, "open_program", lambda rank, threads: program)
            patch.setattr(engine, "check_target", lambda bundle, machine: None)
            patch.setattr(engine, "start_rows", lambda root: STARTS)
            patch.setattr(gpu, "_BATCHES", (1, 2))
            patch.setattr(gpu, "gpu_read_bandwidth", lambda device: 2e9)
            patch.setattr(gpu, "matrix_rate", lambda device: (3e12, "FP8"))
            patch.setattr(torch.cuda, "get_device_name", lambda device: "A GPU")
            return backends.engine_figures(bundle.root, settings)

    monkeypatch.setattr(backends, "check_target", lambda bundle, machine: None)
    monkeypatch.setattr(backends, "_measured", measured)
    return asked


@pytest.mark.slow
def test_both_stand_in_one_table_and_one_chart(bundles, here, tmp_path):
    table = backends.bench_backends(*bundles, SETTINGS)
    (first, one), (second, other) = here
    assert (first, second) == ("tensorrt", "native")
    # Both stand beside the same ceilings, measured once.
    assert (one.ceilings, other.ceilings) == (Ceilings(), Ceilings(2.0, 3.0))
    assert one.start and other.start
    found = json.loads(table.json())
    assert (found["kind"], found["gpu"], found["tensorrt_version"]) == (
        "backends",
        "A GPU",
        "10.6.0",
    )
    assert found["matrix_by"] == "measured: one large FP8 product"
    rows = {(row["figure"], row["at"]): row for row in found["rows"]}
    assert list(rows)[-5:] == [
        ("start_s", "cold"),
        ("start_s", "warm"),
        ("step_ms", "batch 1"),
        ("step_ms", "batch 2"),
        ("prefill_tok_s", "2 x 5"),
    ]
    for at in ("batch 1", "batch 2"):
        row = rows["step_ms", at]
        assert 0 < row["bound"] <= min(row["native"], row["tensorrt"])
        assert row["ratio"] == round(row["tensorrt"] / row["native"], 3)
    assert rows["build_s", "all stages"]["native"] == 64
    assert rows["build_peak_mib", "host"]["native"] is None
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "run.json").write_text(table.json())
    made = charts(read_records(tmp_path / "kept"))
    assert list(made) == ["backends.svg"]
    assert [one.name for one in made["backends.svg"].series] == ["native", "tensorrt", "floor"]
    assert made["backends.svg"].series[0].points[1] == (2, rows["step_ms", "batch 2"]["native"])
    assert "TensorRT 10.6.0" in made["backends.svg"].note


def test_flags_and_the_file_that_is_asked_for(bundles, monkeypatch, tmp_path, capsys):
    given = []

    def compared(one, other, settings):
        given.append((one, other, settings))
        return backends.Table({"kind": "backends"}, [{"figure": "build_s", "native": 7}])

    monkeypatch.setattr(backends, "bench_backends", compared)
    flags = ["--prompt", "3", "--tokens", "3", "--rounds", "1", "--prefill", "2,5"]
    flags += ["--read-gb-s", "4000", "--matrix-tflops", "1500", "--out", str(tmp_path / "o.json")]
    assert main(["bench", "backends", *map(str, bundles), *flags]) == 0
    (asked,) = given
    assert asked[:2] == bundles
    assert asked[2] == Settings(
        prompt=3, tokens=3, rounds=1, prefill=(Prompts(2, 5),), ceilings=Ceilings(4000.0, 1500.0)
    )
    assert "build_s" in capsys.readouterr().out
    assert json.loads((tmp_path / "o.json").read_text())["rows"][0]["native"] == 7


def test_bundles_of_a_cpu_are_refused(tmp_path, capsys):
    roots = []
    for name in ("native", "tensorrt"):
        root = cpu_bundle(tmp_path / name)
        manifest = read_bundle(root).manifest
        abi = abi_of(name)
        write_manifest(root, manifest.model_copy(update={"abi": abi}))
        roots.append(str(root))
    assert main(["bench", "backends", *roots]) == 65
    assert capsys.readouterr().err == (
        f"nacelle bench: InvalidRequest: {roots[0]} is for x86-64-v3: backends are compared on a "
        "GPU\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(this_machine().gpu is not None, reason="a GPU is here")
def test_an_error_of_the_measuring_process_comes_back_by_its_name(bundles):
    with pytest.raises(TargetMismatch, match="this machine has no GPU"):
        backends._measured(read_bundle(bundles[1]), SETTINGS)
