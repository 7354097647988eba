"""The gate's check of BatchInvariant: a program whose bits follow the batch is refused."""

from types import SimpleNamespace

import pytest
import torch

from nacelle_builder.gate.invariance import check_invariance, ways
from nacelle_engine.errors import FidelityFailed
from nacelle_engine.limits import Limits

LIMITS = Limits(max_batch_size=16, max_input_len=100, max_seq_len=128, max_num_tokens=128)
IDS = list(range(3, 200))


class Program:
    """Logits that follow from a token and its position, and from what `noise` makes of a step."""

    signature = SimpleNamespace(kv_groups=(None,))

    def __init__(self, noise=lambda step: 0.0):
        self._noise = noise

    def allocate_kv(self, blocks):
        pass

    def run(self, step):
        both = torch.stack((step.token_ids, step.positions), 1).float()
        return both / 3 + self._noise(step)


def test_a_token_that_is_the_same_everywhere_passes():
    check_invariance(Program(), IDS, LIMITS)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (
            lambda step: 1e-3 * (len(step.seq_lens) == 1 and len(step.token_ids) == 1),
            "token 33 of a sequence has other logits in chunks, then token by token than as one",
        ),
        (lambda step: 1e-3 * (len(step.seq_lens) == 2), "token 0 .* beside others than as one"),
        (lambda step: 1e-3 * (len(step.seq_lens) > 8), "token 0 .* in a large batch than as one"),
    ],
)
def test_a_batch_that_changes_bits_is_named(noise, message):
    with pytest.raises(FidelityFailed, match=message):
        check_invariance(Program(noise), IDS, LIMITS)


@pytest.mark.parametrize(
    "limits",
    [
        LIMITS,
        Limits(max_batch_size=1, max_input_len=7, max_seq_len=8, max_num_tokens=4),
        Limits(max_batch_size=2, max_input_len=60, max_seq_len=64, max_num_tokens=16),
    ],
)
def test_every_way_keeps_to_the_limits(limits):
    for way in ways(limits):
        for spans in way.steps:
            assert sum(span.count for span in spans) <= limits.max_num_tokens
            assert len(spans) <= limits.max_batch_size
        assert 1 <= way.length(0) <= limits.max_seq_len
