"""Mixed steps as CUDA graphs, interpreted: they give what the same launches give without."""

import pytest
import torch
from tiny_gpu import Tiny
from tiny_llama import VOCAB

from nacelle_engine.precision import Quantization

LENGTHS = (30, 12, 9)
# Prompts, a chunk beside decode (fused and quantised), an answer's token beside a whole prompt.
STEPS = [
    [(0, 0, 13), (1, 0, 11)],
    [(0, 13, 9), (1, 11, 1)],
    [(0, 22, 1), (2, 0, 9)],
    [(0, 23, 7)],
]


class Captured(Tiny):
    captured_tokens = 32


@pytest.fixture(scope="module", params=["FP8_PER_CHANNEL_PER_TOKEN", "FP8"])
def runs(request, tmp_path_factory):
    """(logits, caches) of the steps as graphs, and launch by launch."""
    quantization = Quantization(algorithm=request.param, kv_cache="FP8")
    with pytest.MonkeyPatch.context() as monkeypatch:
        tiny = Captured(monkeypatch, tmp_path_factory.mktemp("mixed") / "rank0", quantization)
        torch.manual_seed(0)
        ids = [torch.randint(VOCAB, (length,)).tolist() for length in LENGTHS]
        found = []
        for run in (tiny.program.run, tiny.program.run_launches):
            monkeypatch.setattr(tiny.program, "run", run)
            logits = [step for _, step in tiny.logits(ids, STEPS)]
            found.append((logits, [cache.float() for cache in tiny.program._kv]))
        yield found, tiny.program


def test_the_same_logits(runs):
    ((graphs, _), (launches, _)), _ = runs
    assert [len(one) for one in graphs] == [24, 10, 10, 7]
    for captured, plain in zip(graphs, launches, strict=True):
        torch.testing.assert_close(captured, plain, rtol=1e-6, atol=1e-6)
        assert torch.equal(captured.argmax(-1), plain.argmax(-1))


def test_padding_changes_no_block_but_the_one_that_belongs_to_nobody(runs):
    ((_, captured), (_, plain)), _ = runs
    for found, wanted in zip(captured, plain, strict=True):
        assert torch.equal(found[1:], wanted[1:])
        assert found[0].any() and not wanted[0].any()


def test_what_was_captured_is_told(runs):
    program = runs[1]
    # Decode: 1, 2, 4, 6; mixed: 2, 4, 8, 16 and 32 tokens of at most 6 requests.
    assert program.load_times.graphs == 9
    assert program.load_times.capture_seconds > 0
