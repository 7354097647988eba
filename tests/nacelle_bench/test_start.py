"""Starts: what the process tells, what is counted from outside, and the disk's rate."""

import json
import subprocess
import time
from types import SimpleNamespace

import pytest

from nacelle_bench import decode, start
from nacelle_engine.program import program
from nacelle_engine.program.load_times import LoadTimes


@pytest.fixture
def bundle(monkeypatch, tmp_path):
    (tmp_path / "rank0").mkdir()
    (tmp_path / "rank0" / "weights.safetensors").write_bytes(bytes(1 << 20))
    found = SimpleNamespace(
        rank=lambda: tmp_path / "rank0",
        manifest=SimpleNamespace(limits=SimpleNamespace(max_input_len=100)),
    )
    monkeypatch.setattr(start, "read_bundle", lambda root: found)
    return tmp_path


def test_a_start_is_counted_until_its_first_token(bundle, monkeypatch):
    def run(command, **more):
        assert command[1:] == ["-m", "nacelle_bench.start", str(bundle)]
        told = {"ready": time.perf_counter() + 3, "weights_s": 1.5}
        return subprocess.CompletedProcess(command, 0, json.dumps(told).encode())

    monkeypatch.setattr(subprocess, "run", run)
    cold, warm = start.start_rows(bundle)
    assert (cold["page_cache"], warm["page_cache"]) == ("cold", "warm")
    assert cold["weights_s"] == 1.5 and cold["disk_gb_s"] == warm["disk_gb_s"]
    assert 3 <= cold["ready_s"] < 4


def test_the_process_tells_its_parts(bundle, monkeypatch, capsys):
    ran = []
    times = LoadTimes(weight_bytes=3 * 10**9, weight_seconds=1.5, graphs=7, capture_seconds=0.25)
    opened = SimpleNamespace(load_times=times)
    monkeypatch.setattr(start, "check_target", lambda bundle, machine: ran.append("target"))
    monkeypatch.setattr(start, "verify_files", lambda bundle: ran.append("digests"))
    monkeypatch.setattr(program, "open_program", lambda rank: opened)
    monkeypatch.setattr(
        decode, "Driver", lambda *given: SimpleNamespace(seconds=lambda: ran.append(given))
    )
    before = time.perf_counter()
    assert start.main([str(bundle)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert ran == ["target", "digests", (opened, 1, 8, 1)]
    assert before < told["ready"] < time.perf_counter()
    assert (told["weights_gb_s"], told["graphs"], told["capture_s"]) == (2.0, 7, 0.25)


def test_the_disk_is_read(tmp_path):
    (tmp_path / "file").write_bytes(bytes(5 << 20))
    assert start.disk_gb_s(tmp_path / "file") > 0


def test_times_in_words():
    times = LoadTimes(weight_bytes=9_090_000_000, weight_seconds=1.5)
    assert str(times) == "weights 9.09 GB in 1.50 s (6.06 GB/s)"
    graphs = LoadTimes(9_090_000_000, 1.5, graphs=43, capture_seconds=0.589)
    assert str(graphs) == "weights 9.09 GB in 1.50 s (6.06 GB/s), 43 CUDA graphs in 0.59 s"
