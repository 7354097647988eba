"""Steps as arrays: padding that belongs to nobody, tables of one width, what a decode step is."""

import torch

from nacelle_engine.program.graphs import captured_sizes
from nacelle_engine.program.launch import ONE, Size
from nacelle_engine.program.mixed_sizes import MixedSize
from nacelle_engine.program.step import StepInput
from nacelle_engine.program.step_arrays import (
    decode_arrays,
    empty_step,
    is_decode,
    mixed_arrays,
    sizes_of,
    step_arrays,
)


def step_of(counts, tables, rows):
    tokens = sum(counts)
    ends = torch.tensor(counts).cumsum(0)
    return StepInput(
        token_ids=torch.arange(tokens) + 5,
        positions=torch.arange(tokens) + 40,
        slots=torch.arange(tokens) + 64,
        q_start=torch.cat((torch.zeros(1), ends)).int(),
        block_tables=tuple(torch.tensor(table, dtype=torch.int32) for table in tables),
        seq_lens=torch.tensor(counts, dtype=torch.int32) + 40,
        logits_rows=torch.tensor(rows),
    )


DECODE = step_of([1, 1, 1], [[[4, 5], [6, 0], [7, 8]]], [0, 1, 2])
MIXED = step_of([1, 20, 0], [[[4, 5], [6, 0], [7, 8]], [[1], [2], [3]]], [0, 20])


def test_rows_added_to_a_decode_step_write_to_block_0_and_see_nothing():
    arrays = decode_arrays(DECODE, 8, 4)
    assert arrays["token_ids"].tolist() == [5, 6, 7, 0, 0, 0, 0, 0]
    assert arrays["slots"].tolist() == [64, 65, 66, 0, 0, 0, 0, 0]
    assert arrays["seq_lens"].tolist() == [41, 41, 41, 0, 0, 0, 0, 0]
    assert arrays["q_start"].tolist() == list(range(9))
    assert arrays["block_table.0"].tolist()[:4] == [
        [4, 5, 0, 0],
        [6, 0, 0, 0],
        [7, 8, 0, 0],
        [0] * 4,
    ]
    assert sizes_of(arrays) == {"T": 8, "R": 8, "L": 8, "Q": 0, "W": 4}


def test_a_mixed_step_has_tiles_and_tables_of_one_width():
    arrays = step_arrays(MIXED, 16, 8)
    assert sizes_of(arrays) == {"T": 21, "R": 3, "L": 2, "Q": 3, "W": 2}
    assert arrays["block_table.1"].tolist() == [[1, 0], [2, 0], [3, 0]]
    assert sorted(zip(arrays["tile_request"], arrays["tile_first"], strict=True)) == [
        (0, 0),
        (1, 1),
        (1, 17),
    ]


def test_columns_beyond_the_longest_sequence_are_left_out():
    assert step_arrays(MIXED, 0, 1)["block_table.0"].tolist() == [[4], [6], [7]]
    assert decode_arrays(DECODE, 3, 1)["block_table.0"].tolist() == [[4], [6], [7]]


def test_a_decode_step_is_one_token_for_every_request():
    assert is_decode(DECODE)
    assert not is_decode(MIXED)
    assert not is_decode(step_of([2, 0], [[[1], [2]]], [0]))


def test_captured_sizes_end_with_the_largest_batch():
    assert captured_sizes(1) == (1,)
    assert captured_sizes(6) == (1, 2, 4, 6)
    assert captured_sizes(32) == (1, 2, 4, 8, 16, 24, 32)


def test_a_size_is_rounded_up():
    assert Size(symbol="T", divisor=8, times=3).of({"T": 17}) == 9
    assert ONE.of({}) == 1


def test_tokens_added_to_a_mixed_step_are_of_no_request_and_write_to_block_0():
    arrays = mixed_arrays(MIXED, MixedSize(32, 5), 4, 16)
    assert sizes_of(arrays) == {"T": 32, "R": 5, "L": 2, "Q": 6, "W": 4}
    assert arrays["slots"].tolist() == [*range(64, 85), *[0] * 11]
    assert arrays["q_start"].tolist() == [0, 1, 21, 21, 21, 21]
    assert arrays["seq_lens"].tolist() == [41, 60, 40, 0, 0]
    assert arrays["tile_request"].tolist() == [1, 0, 1, -1, -1, -1]
    assert arrays["block_table.1"].tolist() == [
        [1, 0, 0, 0],
        [2, 0, 0, 0],
        [3, 0, 0, 0],
        *[[0] * 4] * 2,
    ]


def test_a_captured_step_finds_all_but_its_rows_of_logits_where_they_were():
    size = MixedSize(32, 5)
    shapes = [
        {name: array.shape for name, array in mixed_arrays(step, size, 4, 16).items()}
        for step in (
            MIXED,
            step_of([1, 4], [[[4], [6]], [[1], [2]]], [0, 1, 2, 3, 4]),
            empty_step(2),
        )
    ]
    assert [list(one)[-1] for one in shapes] == ["logits_rows"] * 3
    assert len({tuple(sorted({**one, "logits_rows": ()}.items())) for one in shapes}) == 1
