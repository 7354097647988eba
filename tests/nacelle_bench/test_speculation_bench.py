"""`nacelle bench speculation` over the tiny model: what its rows say."""

import argparse
import json

import pytest
from tiny_bundle import seal
from tiny_program import open_tiny

from nacelle_bench.command import configure
from nacelle_bench.records import read_records
from nacelle_bench.speculation import bench_speculation
from nacelle_bench.speculation_tasks import TASKS
from nacelle_engine.errors import InvalidRequest
from nacelle_runtime import loader
from nacelle_runtime.speculation import opening

pytestmark = pytest.mark.slow
# Every byte is a token: the questions are long.
LIMITS = {"max_input_len": 900, "max_seq_len": 1000, "max_num_tokens": 256}
FEW = ("--tokens", "24", "--rounds", "1", "--threads", "1")


@pytest.fixture
def bench(monkeypatch, tmp_path):
    for module in (loader, opening):
        monkeypatch.setattr(module, "open_program", open_tiny)
    # Beside its steps the draft's, and the tokens of a step, cost nothing.
    bundle = seal(tmp_path / "bundle", step_seconds=0.01, **LIMITS)

    def run(*flags):
        parser = argparse.ArgumentParser()
        configure(parser)
        return bench_speculation(parser.parse_args(["speculation", str(bundle), *flags]))

    return run


def test_rows_compare_the_same_answers_with_drafts_and_without(bench, tmp_path):
    draft = seal(tmp_path / "draft", **LIMITS)
    flags = ("--speculation", "draft", "--draft-engine", str(draft), "--streams", "1", "3")
    table = bench(*FEW, *flags)
    assert [(row["row"], row["streams"]) for row in table.rows] == [
        (kind, streams) for kind in TASKS for streams in (1, 3)
    ]
    for row in table.rows:
        assert row["same_answers"] == 4
        assert row["tok_s_without"] > 0
        assert row["speedup"] == pytest.approx(row["tok_s_with"] / row["tok_s_without"])
        assert row["accepted"] == row["drafted"]
    assert table.facts["speculation"].startswith("draft, at most 4 tokens, by engine aaaa")
    assert "acceptance" in table.text()


def test_its_record_is_known_and_says_what_is_synthetic(bench, tmp_path):
    table = bench(*FEW, "--synthetic-acceptance", "0.5", "--streams", "1")
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "run.json").write_text(table.json())
    (run,) = read_records(folder).speculation
    assert json.loads(table.json())["kind"] == "speculation"
    assert "SYNTHETIC acceptance 0.5: answers mean nothing" in run.speculation
    assert len(run.rows) == len(TASKS)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--speculation", "none"), "--speculation none: there is nothing to compare"),
        (("--tokens", "900"), r"--tokens 900: the questions have up to \d+ tokens; the engine"),
        (("--speculation", "draft"), "--speculation draft: --draft-engine must name the bundle"),
    ],
)
def test_what_cannot_be_compared_is_refused(bench, flags, message):
    with pytest.raises(InvalidRequest, match=message):
        bench(*flags)
