"""Bytes of torch's ops: inputs and results, rows of gathered ones, none of views."""

import pytest
import torch
import torch.nn.functional as F

from nacelle_bench.moved_bytes import moved_bytes, stored_bytes

X = torch.ones(3, 5)
TABLE = torch.ones(100, 7, dtype=torch.bfloat16)
ROWS = torch.tensor([4, 1, 4])


@pytest.mark.parametrize(
    ("run", "found"),
    [
        (lambda: X + 1, 2 * 60),
        (lambda: X + X, 2 * 60),
        (lambda: X * torch.ones(5), 20 + 20 + 2 * 60),  # the ones are written before
        (lambda: X.bfloat16(), 60 + 30),
        (lambda: F.linear(X, X), 2 * 60 + 36),
        (lambda: X.view(15)[3:].view(2, 6).t(), 0),
        (lambda: X.t().reshape(15), 2 * 60),
        (lambda: TABLE[ROWS], 2 * 42 + 24),
        (lambda: F.embedding(ROWS, TABLE), 2 * 42 + 24),
    ],
)
def test_an_op_moves_its_inputs_and_results(run, found):
    assert moved_bytes(run) == found


def test_a_scattered_tensor_counts_by_what_is_put():
    kept = torch.zeros(100, 7)

    def put():
        kept[ROWS] = torch.ones(3, 7)

    assert moved_bytes(put) == 84 + 24 + 2 * 84  # the ones, the indices, read and written


def test_an_op_in_place_reads_and_writes():
    kept, other = torch.zeros(4), torch.ones(4)
    assert moved_bytes(lambda: kept.add_(other)) == 3 * 16
    assert moved_bytes(lambda: kept.copy_(other)) == 2 * 16


def test_expanded_elements_are_one():
    assert stored_bytes(torch.ones(4, 1).expand(4, 9)) == 16
    assert stored_bytes(torch.ones(0, 3)) == 0
