"""Rows at which a library's products are run before they are needed."""

import itertools

import pytest
import torch

from nacelle_engine.program.products import Products, rows_to_try


def test_all_small_numbers_of_rows_are_tried_and_the_largest():
    tried = list(rows_to_try(8192))
    assert tried[0] == 8192
    assert tried[-127:] == list(range(127, 0, -1))
    assert list(rows_to_try(3)) == [3, 2, 1]
    assert list(rows_to_try(0)) == []


@pytest.mark.parametrize("most", [8192, 5000])
def test_the_next_size_is_never_more_than_a_64th_away(most):
    tried = list(rows_to_try(most))
    assert all(1 <= a - b <= max(a / 64, 1) for a, b in itertools.pairwise(tried))
    assert len(tried) < 500


def test_each_kind_of_product_is_loaded_once_up_to_its_own_rows(monkeypatch):
    seen = []

    def mm(x, columns, *, out_dtype, out):
        assert out_dtype == out.dtype == torch.float32
        assert x.shape[1] == columns.shape[0]
        assert out.shape == (x.shape[0], columns.shape[1])
        seen.append((*columns.shape, len(x)))

    monkeypatch.setattr(torch, "mm", mm)
    products = Products()
    narrow, wide = (torch.zeros(n, 16, dtype=torch.bfloat16) for n in (32, 48))
    x = torch.zeros(7, 16, dtype=torch.bfloat16)
    room = [torch.empty(5, 32)]
    call = products.logits(x, narrow, room)
    products.logits(x, narrow.clone(), room)
    products.logits(x, wide, [torch.empty(9, 48)])
    products.load()
    assert seen == [(16, 32, n) for n in (5, 4, 3, 2, 1)] + [(16, 48, n) for n in range(7, 0, -1)]
    # A step's own logits take the place of the room, and may have more rows.
    room[0] = torch.empty(7, 32)
    call(7)
    assert seen[-1] == (16, 32, 7)
