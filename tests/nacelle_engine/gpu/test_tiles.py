"""The tile plan takes every token exactly once, the latest first."""

import numpy as np
import pytest

from nacelle_engine.program.tiles import most_tiles, padded, tiles

STARTS = ([0, 1], [0, 5, 5, 6, 70], [0, 32, 64], [0, 33, 34, 35])


@pytest.mark.parametrize("block_q", [1, 4, 32])
@pytest.mark.parametrize("q_start", STARTS)
def test_every_token_is_in_one_tile_of_its_request(q_start, block_q):
    request, first = tiles(q_start, block_q)
    seen = []
    for r, start in zip(request.tolist(), first.tolist(), strict=True):
        end = min(start + block_q, q_start[r + 1])
        assert q_start[r] <= start < end
        seen += range(start, end)
    assert sorted(seen) == list(range(q_start[-1]))
    assert request.dtype == first.dtype == np.int32
    assert len(request) <= most_tiles(q_start[-1], len(q_start) - 1, block_q)


def test_late_tiles_come_first():
    request, first = tiles([0, 9, 10], 4)
    assert request.tolist() == [0, 0, 0, 1]
    assert first.tolist() == [8, 4, 0, 9]


def test_the_bound_is_reached():
    assert len(tiles([0, 1, 2, 67], 32)[0]) == most_tiles(67, 3, 32) == 5
    assert most_tiles(3, 8, 32) == 3


def test_padding_names_no_request():
    request, first = padded(tiles([0, 3], 4), 3)
    assert request.tolist() == [0, -1, -1]
    assert first.tolist() == [0, 0, 0]


def test_a_plan_too_long_is_refused():
    with pytest.raises(ValueError, match="the plan has 2 tiles, more than the 1 it is padded to"):
        padded(tiles([0, 3], 2), 1)
