"""Records of a folder, and the charts that follow from them."""

import json
import shutil
from pathlib import Path

import pytest

from nacelle_bench.plots import charts, layer_microseconds, main, write_charts
from nacelle_bench.records import Records, read_records
from nacelle_engine.errors import InvalidRequest

KEPT = Path(__file__).parents[2] / "docs" / "benchmarks"
ENGINE = {
    "bundle": "a" * 64,
    "read_gb_s": 4000.0,
    "matrix_tflop_s": 1000.0,
    "rows": [
        {"batch": 1, "step_ms": 2.5, "floor_ms": 1.8, "gb_s": 3200.0, "tflop_s": 6.4},
        {"batch": 8, "step_ms": 3.0, "floor_ms": 1.9, "gb_s": 2700.0, "tflop_s": 43.0},
    ],
}
PREFILL = [{"tokens_a_step": 8192, "tflop_s": 800.0}]
PEER = {"kind": "peer", "name": "P", "conditions": "c", "rows": [{"batch": 1, "step_ms": 3.56}]}


def write(folder, **files):
    for name, data in files.items():
        (folder / f"{name}.json").write_text(json.dumps(data))
    return folder


def series(chart):
    return {one.name: one for one in chart.series}


def test_an_engine_stands_beside_its_floor_and_the_peer(tmp_path):
    made = charts(read_records(write(tmp_path, run=ENGINE, peer=PEER)))
    assert list(made) == ["step-time.svg", "read-rate.svg", "matrix-rate.svg"]
    found = series(made["step-time.svg"])
    assert found["run"].points == ((1, 2.5), (8, 3.0))
    assert found["run: floor"].points == ((1, 1.8), (8, 1.9)) and found["run: floor"].dashed
    assert found["P"].points == ((1, 3.56),)
    assert made["step-time.svg"].note == "P: c."


def test_rates_stand_beside_their_ceilings(tmp_path):
    made = charts(read_records(write(tmp_path, run={**ENGINE, "prefill": PREFILL})))
    read = series(made["read-rate.svg"])
    assert read["run: the memory's read bandwidth"].points == ((1, 4000), (8, 4000))
    matrix = series(made["matrix-rate.svg"])
    assert matrix["run: prefill"].points == ((8192, 800),)
    assert matrix["run: the matrix rate"].points == ((1, 1000), (8, 1000), (8192, 1000))


def test_without_prefill_there_is_no_line_for_it(tmp_path):
    made = charts(read_records(write(tmp_path, run=ENGINE)))
    assert list(series(made["matrix-rate.svg"])) == ["run: decode", "run: the matrix rate"]


def test_a_peer_alone_draws_nothing(tmp_path):
    assert charts(read_records(write(tmp_path, peer=PEER))) == {}
    with pytest.raises(InvalidRequest, match="no figures to draw"):
        write_charts(tmp_path)


SERVE = {
    "kind": "serve",
    "prompt": 128,
    "answer": 256,
    "rows": [
        {"concurrency": 1, "output_tok_s": 400.0, "itl_ms_mean": 2.5, "itl_ms_p99": 2.7},
        {"concurrency": 8, "output_tok_s": 2900.0, "itl_ms_mean": 2.8, "itl_ms_p99": None},
        {"concurrency": None, "output_tok_s": 50.0, "itl_ms_mean": 2.5, "itl_ms_p99": 2.7},
    ],
}


def test_a_server_is_drawn_by_how_many_requests_it_runs_beside_the_peer(tmp_path):
    made = charts(read_records(write(tmp_path, run=SERVE, peer=PEER)))
    assert list(made) == ["serve-rate.svg", "serve-latency.svg"]
    rate, latency = (series(made[name]) for name in made)
    assert rate["run: 128 in, 256 out"].points == ((1, 400), (8, 2900))
    assert latency["run: 128 in, 256 out, mean"].points == ((1, 2.5), (8, 2.8))
    assert latency["run: 128 in, 256 out, 99th percentile"].points == ((1, 2.7),)
    assert latency["P"].points == ((1, 3.56),)


def test_a_server_without_rates_is_drawn_by_its_latency_alone(tmp_path):
    rows = [{"concurrency": 1, "itl_ms_mean": 2.5, "itl_ms_p99": 2.7}]
    assert list(charts(read_records(write(tmp_path, run={**SERVE, "rows": rows})))) == [
        "serve-latency.svg"
    ]


def fusion_row(step, tokens, layer, launches, us, graph_us):
    return {
        "step": step, "tokens": tokens, "layer": layer, "launches": launches,
        "us": us, "graph_us": graph_us,
    }  # fmt: skip


def test_a_fused_layer_is_drawn_beside_eager_ones_with_their_launches(tmp_path):
    rows = [
        fusion_row("decode", 1, "ours", 5.0, 60.0, None),
        fusion_row("decode", 128, "ours", 9.0, 200.0, 120.0),
        fusion_row("decode", 1, "eager FP8", 81.0, 2000.0, 300.0),
        fusion_row("prefill", 2048, "ours", 14.0, 800.0, 900.0),
    ]
    made = charts(read_records(write(tmp_path, run={"kind": "fusion", "gpu": "G", "rows": rows})))
    found = series(made["fusion.svg"])
    assert {name: one.points for name, one in found.items()} == {
        "ours one by one: 5 to 9 launches": ((1, 60), (128, 200)),
        "ours in a CUDA graph: 5 to 9 launches": ((128, 120),),
        "eager FP8 one by one: 81 launches": ((1, 2000),),
        "eager FP8 in a CUDA graph: 81 launches": ((1, 300),),
    }


def test_a_layer_needs_all_four_products():
    rows = [{"op": op, "tokens": 1, "us": 2.0} for op in ("qkv", "o", "gate_up", "down", "head")]
    assert layer_microseconds([*rows, {"op": "qkv", "tokens": 8, "us": 9.0}]) == ((1, 8.0),)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            {"kind": "other"},
            "known are engine, peer, kernels, serve, fusion, speculation, soak, operator, backends",
        ),
        ({"kind": "peer", "name": "P"}, "conditions is missing"),
        ([], "no benchmark file"),
    ],
)
def test_a_file_that_is_no_record_is_named(tmp_path, data, words):
    (tmp_path / "some.json").write_text(json.dumps(data))
    with pytest.raises(InvalidRequest, match=rf"some\.json.*{words}"):
        read_records(tmp_path)


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match="no folder"):
        read_records(tmp_path / "none")


def test_an_empty_folder_has_no_records(tmp_path):
    assert read_records(tmp_path) == Records()


@pytest.mark.parametrize(
    "kept",
    [KEPT, KEPT / "gpu" / "fusion", KEPT / "gpu" / "backends", KEPT / "cpu" / "operator"],
    ids=lambda path: path.name,
)
def test_the_charts_kept_are_those_of_the_figures_kept(tmp_path, kept):
    for path in kept.glob("*.json"):
        shutil.copy(path, tmp_path)
    written = write_charts(tmp_path)
    assert {path.name for path in written} == {path.name for path in kept.glob("*.svg")}
    assert all(path.read_text() == (kept / path.name).read_text() for path in written)


def test_the_module_is_a_command(tmp_path, capsys):
    write(tmp_path, run=ENGINE)
    assert main([str(tmp_path)]) == 0
    assert "step-time.svg" in capsys.readouterr().out
    assert main([]) == 2
    assert main([str(tmp_path / "none")]) == 65
