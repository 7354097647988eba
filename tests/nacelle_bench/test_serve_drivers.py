"""Loads driven against a server of the tiny model: at its core's socket and over HTTP."""

import argparse
import json
import sys

import pytest
from serving import start_server
from tiny_bundle import seal

from nacelle_bench.command import configure
from nacelle_bench.serve import bench_serve
from nacelle_engine.errors import TemporaryError
from nacelle_runtime import supervisor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    flags = ("--max-batch-size", "4", "--queue-limit", "8", "--steps-in-flight", "2")
    server = start_server(tmp_path_factory.mktemp("driven"), flags, {"step_seconds": 0.005})
    yield server
    server.kill()


def bench(target, *flags):
    parser = argparse.ArgumentParser()
    configure(parser)
    flags = ("--prompt", "12", "--answer", "10", "--warm-up", "2", *flags)
    return bench_serve(parser.parse_args(["serve", str(target), *flags]))


def check(rows, at_least_ms):
    for row in rows:
        assert row["itl_ms_mean"] >= at_least_ms, "faster than the engine's steps"
        assert row["ttft_ms_p50"] <= row["ttft_ms_p99"] <= row["e2e_ms_p99"]
        assert row["step_ms"] >= at_least_ms
        assert 0 <= row["idle_percent"] < 100
        assert row["total_tok_s"] == pytest.approx(row["output_tok_s"] * 2.2, rel=0.01)


def test_a_core_is_driven_at_its_socket(server, tmp_path):
    out = tmp_path / "run.json"
    table = bench(
        server.core_socket(), "--requests", "12", "--concurrency", "1", "4", "--out", str(out)
    )
    check(table.rows, 4.5)
    alone, four = table.rows
    assert (alone["concurrency"], four["concurrency"]) == (1, 4)
    assert alone["steps"] == 120 and four["steps"] < 60
    assert four["output_tok_s"] > 2 * alone["output_tok_s"]
    assert json.loads(out.read_text()) == json.loads(table.json())
    assert "itl_ms_p99" in table.text()


def test_a_run_finds_no_prompt_of_the_one_before(server):
    flags = ("--requests", "4", "--prompt", "70", "--concurrency", "1")
    before = server.metric("nacelle_prefix_hit_tokens_total")
    for _ in range(2):
        bench(server.core_socket(), *flags)
    assert server.metric("nacelle_prefix_hit_tokens_total") == before


def test_requests_arrive_at_a_rate(server):
    # No more than may run and wait at once: on a loaded machine they may all come together.
    table = bench(server.core_socket(), "--requests", "12", "--rate", "40")
    check(table.rows, 4.5)
    assert table.rows[0]["concurrency"] is None
    assert table.rows[0]["seconds"] > 0.15, "at once is no rate"


def test_an_endpoint_is_driven_over_http(server):
    flags = ("--requests", "8", "--concurrency", "4", "--vocabulary", "94", "--model", "tiny")
    table = bench(server.url, *flags, "--first-ms", "60000", "--between-ms", "60000")
    check(table.rows, 1)
    assert table.rows[0]["good_percent"] == 100


def test_a_server_that_turns_requests_away_gives_no_figures(server):
    with pytest.raises(TemporaryError, match="requests are waiting; try again later"):
        bench(server.core_socket(), "--requests", "40")
    flags = ("--requests", "2", "--vocabulary", "94", "--model", "other")
    with pytest.raises(TemporaryError, match="HTTP 404"):
        bench(server.url, *flags, "--warm-up", "0")


def test_a_core_of_its_own_is_started_over_a_bundle(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "CORE", "tiny_core")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    bundle = seal(tmp_path / "bundle", step_seconds=0.003)
    table = bench(bundle, "--requests", "300", "--answer", "2", "--threads", "1")
    assert table.facts["bundle"] == "a" * 64
    assert table.rows[0]["concurrency"] == 300
