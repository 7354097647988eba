"""Decode batches over FP8 blocks: a tiny Llama whose sizes blocks divide, interpreted."""

import pytest
from tiny_gpu import Tiny
from tiny_llama import BLOCK_CONFIG

from nacelle_builder.gate.fake_quantise import AS_COMPUTED


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Tiny(monkeypatch, tmp_path_factory.mktemp("tiny") / "rank0", config=BLOCK_CONFIG)


@pytest.mark.parametrize("counts", [(7, 31), (5, 33, 2, 40, 9)])
def test_decode_of_a_batch_after_its_prompts(tiny, counts):
    prompts = [[(n, 0, count)] for n, count in enumerate(counts)]
    every = [[(n, count + k, 1) for n, count in enumerate(counts)] for k in range(2)]
    assert tiny.class_of(every[0]) == "block"
    steps = [*prompts, *every]
    assert tiny.error([count + 2 for count in counts], steps) < tiny.bound(steps)


def test_only_the_reference_that_rounds_blocks_is_near(tiny):
    steps = [[(0, k, 1), (1, k, 1)] for k in range(6)]
    error, plain, per_token = tiny.errors(
        [6, 6],
        steps,
        tiny.roundings,
        dict.fromkeys(tiny.roundings, AS_COMPUTED),
        dict.fromkeys(tiny.roundings, tiny.roundings["quantised"]),
    )
    assert error < tiny.bound(steps)
    assert error < 0.8 * plain
    assert error < 0.9 * per_token


def test_one_sequence_and_mixed_steps_stay_fused(tiny):
    steps = [[(0, 0, 12)], [(0, 12, 1)], [(0, 13, 1), (1, 0, 9)]]
    assert {tiny.class_of(step) for step in steps} == {"fused"}
    assert tiny.error([14, 9], steps) < tiny.bound(steps)


def test_a_large_step_before_a_block_step(tiny):
    steps = [[(0, 0, 100), (1, 0, 50)], [(0, 100, 1), (1, 50, 1)]]
    assert [tiny.class_of(step) for step in steps] == ["quantised", "block"]
    assert tiny.error([101, 51], steps) < tiny.bound(steps)
