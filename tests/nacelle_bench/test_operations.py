"""Operations of a step, counted by hand."""

import pytest
from page_bundles import CPU, GPU
from tiny_llama import SPEC, VOCAB

from nacelle_bench.operations import seen, step_operations
from nacelle_builder.compile.cpu import signature as cpu_signature
from nacelle_builder.compile.gpu.signature import signature_of

LAYER = 256 * 64 + 64 * 128 + 192 * 64 + 64 * 96
HEAD = VOCAB * 64
QUERIES = 4 * 32


@pytest.mark.parametrize(
    ("start", "count", "window", "keys"),
    [(0, 1, None, 1), (0, 4, None, 10), (9, 1, None, 10), (3, 2, None, 9), (0, 5, 2, 9)],
)
def test_keys_that_queries_see(start, count, window, keys):
    assert seen(start, count, window) == keys


def test_a_decode_step():
    wanted = 3 * (2 * (2 * LAYER + 4 * QUERIES * 10) + 2 * HEAD)
    assert step_operations(signature_of(SPEC, GPU), 3, 9, 1) == wanted


def test_a_prefill_step_has_one_row_of_logits():
    wanted = 2 * (2 * 4 * LAYER + 4 * QUERIES * 10) + 2 * HEAD
    assert step_operations(signature_of(SPEC, GPU), 1, 0, 4) == wanted


def test_both_targets_count_the_same():
    one, other = signature_of(SPEC, GPU), cpu_signature.signature_of(SPEC, CPU)
    assert step_operations(one, 2, 5, 3) == step_operations(other, 2, 5, 3)
