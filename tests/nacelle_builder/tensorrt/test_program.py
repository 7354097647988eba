"""A program of TensorRT's plans on an interpreted GPU, against transformers' model."""

import families
import pytest
from evaluated_plans import PlannedFamily, PlannedLlama

from nacelle_engine.precision import Quantization
from nacelle_engine.program.launch import KernelLaunch, PlanLaunch

pytestmark = pytest.mark.slow

# A prompt beyond every window, a mixed step, decode of both sequences.
STEPS = ([(0, 0, 50)], [(0, 50, 1), (1, 0, 7)], [(0, 51, 1), (1, 7, 1)])
LENGTHS = [52, 8]
NONE = Quantization(algorithm="NONE")
PER_TOKEN = Quantization(algorithm="FP8_PER_CHANNEL_PER_TOKEN")


@pytest.mark.parametrize("name", families.NAMES)
def test_every_family_gives_its_own_logits(monkeypatch, tmp_path, name):
    one = PlannedFamily(monkeypatch, tmp_path, name, NONE)
    assert one.error(LENGTHS, STEPS) < one.bound(STEPS)
    assert one.plans.calls >= 2 * one.layers * len(STEPS)


@pytest.mark.parametrize("name", ["mistral", "qwen3-biased", "gemma2"])
def test_families_round_every_step_per_token(monkeypatch, tmp_path, name):
    one = PlannedFamily(monkeypatch, tmp_path, name, PER_TOKEN)
    assert {one.class_of(step) for step in STEPS} == {"quantised"}
    assert one.error(LENGTHS, STEPS) < one.bound(STEPS)


@pytest.mark.parametrize("algorithm", ["FP8", "FP8_PER_CHANNEL_PER_TOKEN"])
def test_fp8_stands_beside_an_fp8_cache(monkeypatch, tmp_path, algorithm):
    quantization = Quantization(algorithm=algorithm, kv_cache="FP8")
    one = PlannedLlama(monkeypatch, tmp_path / "rank0", quantization)
    steps = [[(0, 0, 100), (1, 0, 50)], [(0, 100, 1), (1, 50, 1)]]
    assert one.error([101, 51], steps) < one.bound(steps)


def test_a_layer_is_two_plans_around_attention(monkeypatch, tmp_path):
    one = PlannedLlama(monkeypatch, tmp_path / "rank0", NONE)
    for step in one.lowered.steps:
        (layer,) = step.kinds.values()
        first, *between, last = layer
        assert isinstance(first, PlanLaunch) and first.plan == "entry"
        assert isinstance(last, PlanLaunch) and last.plan == "exit"
        assert all(isinstance(launch, KernelLaunch) for launch in between)
        assert len(between) == (1 if step.decode else 2)
    assert {buffer.name for buffer in one.lowered.buffers} >= {"x", "y", "qkv", "attention"}
    assert not {buffer.name for buffer in one.lowered.buffers} & {"inner", "delta", "gate_up"}
