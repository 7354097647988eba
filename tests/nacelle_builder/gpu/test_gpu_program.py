"""The launch list of a tiny Llama, interpreted on the CPU, against transformers' model."""

import pytest
from tiny_gpu import Tiny

from nacelle_engine.precision import Quantization, QuantizationAlgorithm

PER_TOKEN = QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN
QUANTIZATIONS = [
    Quantization(algorithm=PER_TOKEN),
    Quantization(algorithm=PER_TOKEN, kv_cache="FP8"),
    Quantization(algorithm="FP8", kv_cache="FP8"),
    Quantization(algorithm="NONE"),
]


@pytest.fixture(
    scope="module", params=QUANTIZATIONS, ids=lambda q: f"{q.algorithm}, KV {q.kv_cache}"
)
def tiny(request, tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Tiny(monkeypatch, tmp_path_factory.mktemp("tiny") / "rank0", request.param)


def test_a_prompt_and_the_tokens_after_it(tiny):
    steps = [[(0, 0, 37)], *([(0, 37 + n, 1)] for n in range(3))]
    assert tiny.error([40], steps) < tiny.bound(steps)


def test_decode_of_a_batch_that_is_padded(tiny):
    lengths = [5, 33, 2, 40, 9]
    prompts = [[(n, 0, length - 1)] for n, length in enumerate(lengths) if length > 1]
    steps = [*prompts, [(n, length - 1, 1) for n, length in enumerate(lengths)]]
    assert tiny.error(lengths, steps) < tiny.bound(steps)


def test_prompts_chunks_and_decode_mixed_in_a_step(tiny):
    steps = [[(0, 0, 20), (1, 0, 33)], [(0, 20, 1), (1, 33, 5), (2, 0, 7)], [(2, 7, 1), (0, 21, 2)]]
    assert tiny.error([23, 38, 8], steps) < tiny.bound(steps)


def test_a_large_step(tiny):
    steps = [[(0, 0, 100), (1, 0, 50)], [(0, 100, 1), (1, 50, 1)]]
    assert tiny.error([101, 51], steps) < tiny.bound(steps)
