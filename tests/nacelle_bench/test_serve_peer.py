"""`nacelle bench serve --hf`: SmolLM2 beside transformers' generate(), in one run."""

import argparse

import pytest
from real_engine import float32_engine, model_folder
from tiny_bundle import seal

from nacelle_bench.command import configure
from nacelle_bench.serve import bench_serve
from nacelle_engine.errors import InvalidRequest


def bench(bundle, *flags):
    parser = argparse.ArgumentParser()
    configure(parser)
    return bench_serve(parser.parse_args(["serve", str(bundle), *flags]))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--rate", "5"), "--hf and --rate exclude each other"),
        (("--temperature", "0.5"), "--temperature 0.5 does not"),
    ],
)
def test_what_the_peer_cannot_be_asked_is_refused(tmp_path, flags, message):
    with pytest.raises(InvalidRequest, match=message):
        bench(seal(tmp_path / "bundle"), "--hf", str(tmp_path), *flags)


@pytest.mark.slow
def test_the_same_requests_are_answered_by_the_core_and_by_the_peer(record_property):
    flags = ("--requests", "4", "--concurrency", "1", "4", "--prompt", "32", "--answer", "8")
    table = bench(
        float32_engine(), "--hf", str(model_folder()), "--warm-up", "1", "--threads", "2", *flags
    )
    peers = table.others["beside"]
    assert [(row["peer"], row["concurrency"]) for row in peers] == [
        ("transformers float32", 1),
        ("transformers float32", 4),
    ]
    for ours, peer in zip(table.rows, peers, strict=True):
        assert ours["requests"] == 4
        # The ratio is of the rates as measured, both of which are shown to a tenth.
        least = (ours["output_tok_s"] - 0.05) / (peer["output_tok_s"] + 0.05)
        most = (ours["output_tok_s"] + 0.05) / (peer["output_tok_s"] - 0.05)
        assert least - 0.005 <= peer["nacelle / peer"] <= most + 0.005
    record_property("SmolLM2 in float32 at the core's socket, beside its eager peer", table.text())
