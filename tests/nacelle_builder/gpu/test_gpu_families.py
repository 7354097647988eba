"""Every family's launch list, interpreted on the CPU, against transformers' own model."""

import families
import pytest
from tiny_family import TinyFamily

from nacelle_builder import numerics

# A prompt beyond every window, a mixed step, decode of both sequences.
STEPS = ([(0, 0, 50)], [(0, 50, 1), (1, 0, 7)], [(0, 51, 1), (1, 7, 1)])
LENGTHS = [52, 8]


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A function (family, changes of its spec) -> the tiny program and its reference."""
    return lambda name, **changes: TinyFamily(monkeypatch, tmp_path, name, **changes)


@pytest.fixture
def fused(monkeypatch):
    """Every step leaves activations as they are: bounds are narrow then."""
    monkeypatch.setattr(numerics, "FUSED_TOKENS", 64)


@pytest.mark.parametrize("name", families.NAMES)
def test_the_launches_are_the_family_s(tiny, fused, name):
    one = tiny(name)
    assert one.error(LENGTHS, STEPS) < one.bound(STEPS)


@pytest.mark.parametrize("name", ["mistral", "qwen3-biased", "phi3", "gemma2"])
def test_large_steps_are_too(tiny, name):
    one = tiny(name)
    assert [one.class_of(step) for step in STEPS] == ["quantised", "fused", "fused"]
    assert one.error(LENGTHS, STEPS) < one.bound(STEPS)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("mistral", {"sliding_window": 44}),
        ("gemma2", {"logits_soft_cap": None}),
        ("gemma2", {"layer_types": ("full", "sliding", "full")}),
        ("gemma3", {"sliding_inverse_frequencies": None}),
    ],
)
def test_every_part_of_a_family_counts(tiny, fused, name, changes):
    one = tiny(name, **changes)
    assert one.error(LENGTHS, STEPS) > 2 * one.bound(STEPS)
