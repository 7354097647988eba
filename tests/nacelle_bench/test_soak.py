"""The soak: a real server under mixed clients, and what is said of its memory."""

import argparse
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest

TINY = Path(__file__).parents[1] / "nacelle_runtime" / "tiny"
sys.path.insert(0, str(TINY))

from tiny_bundle import seal  # noqa: E402

from nacelle_bench import soak, soak_server  # noqa: E402
from nacelle_bench.plots import write_charts  # noqa: E402
from nacelle_bench.soak_slope import slope  # noqa: E402
from nacelle_bench.soak_traffic import _KINDS  # noqa: E402
from nacelle_engine.errors import InvalidRequest, TemporaryError  # noqa: E402


def settings(bundle, **fields):
    values = {
        "seconds": 12.0,
        "clients": 8,
        "rate": 20.0,
        "threads": 1,
        "out": None,
        "kv_cache_blocks": 64,
    }
    return argparse.Namespace(bundle=bundle, **values | fields)


def test_a_line_is_found_with_its_error():
    seconds = list(range(100))
    straight = slope(seconds, [5 + second / 3600 for second in seconds])
    assert straight.value == pytest.approx(1)
    assert straight.error == pytest.approx(0, abs=1e-9)
    assert straight.grows
    waving = slope(seconds, [(-1) ** (second // 10) for second in seconds])
    # By hand: means of +1, -1, ... at 4.5, 14.5, ..., 94.5; S = 8250, slope = -50 / 8250.
    assert waving.value == pytest.approx(-3600 * 50 / 8250)
    residual = 10 - 50**2 / 8250
    assert waving.error == pytest.approx(3600 * 2.306 * (residual / 8 / 8250) ** 0.5)
    assert not waving.grows


def test_few_samples_have_no_slope():
    with pytest.raises(ValueError, match="9 samples; at least 10"):
        slope(range(9), range(9))


def sample(second, **more):
    found = {"seconds": float(second)}
    for name in ("supervisor", "core", "frontend"):
        found |= {f"{name}_mib": 100.0, f"{name}_sockets": 3, f"{name}_threads": 2}
    return found | more


def test_a_process_that_grows_is_named():
    samples = [sample(n, core_mib=100 + n / 10) for n in range(80)]
    rows = soak._rows(samples)
    assert [row["flat"] for row in rows] == [True, False, True]
    assert rows[1]["mib_an_hour"] == pytest.approx(360)
    facts = {"left_behind": {"tasks": 2}, "wrong_answers": 1}
    told = "the core grows; tasks is left behind; 1 answers were wrong"
    assert soak._verdict(rows, facts) == told


def test_so_short_a_soak_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="--seconds 9: at least 10"):
        soak.bench_soak(settings(tmp_path, seconds=9))


@pytest.fixture
def tiny(monkeypatch):
    """Soaks start the tiny server."""
    monkeypatch.setattr(soak_server, "SERVE", (sys.executable, str(TINY / "tiny_serve.py")))
    path = [str(TINY), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setattr(soak, "_SAMPLES", 40)


@pytest.mark.slow
def test_a_server_whose_core_dies_ends_the_soak(tmp_path, tiny, monkeypatch):
    servers, start = [], soak_server.serving

    @contextlib.contextmanager
    def kept(*given):
        with start(*given) as server:
            servers.append(server)
            yield server

    monkeypatch.setattr(soak, "serving", kept)
    bundle = seal(tmp_path / "bundle")
    real = soak.Traffic.run

    def run(self, until, over):
        if self.seed == 0:
            os.kill(servers[0].processes["core"], signal.SIGKILL)
        real(self, until, over)

    monkeypatch.setattr(soak.Traffic, "run", run)
    with pytest.raises(TemporaryError) as ended:
        soak.bench_soak(settings(bundle, seconds=600.0))
    assert str(ended.value).startswith("a process of the server ended under its load: ")
    assert "the core process was ended by SIGKILL" in str(ended.value)


@pytest.mark.slow
def test_a_server_is_driven_watched_and_left_as_it_was(tmp_path, tiny):
    out = tmp_path / "out" / "soak.json"
    out.parent.mkdir()
    table = soak.bench_soak(settings(seal(tmp_path / "bundle"), out=out))
    facts = table.facts
    assert (facts["wrong"], facts["left_behind"]) == ([], {})
    assert facts["requests"].keys() == _KINDS.keys()
    assert [row["process"] for row in table.rows] == ["supervisor", "core", "frontend"]
    assert table.rows[2]["most_sockets"] > table.rows[0]["most_sockets"]
    kept = json.loads(out.read_text())
    assert len(kept["samples"]) > 20
    assert all(sample["tasks"] > 0 for sample in kept["samples"])
    (chart,) = write_charts(out.parent)
    assert chart.name == "soak.svg"
    assert "core: " in chart.read_text()
