import numpy as np
import pytest

from nacelle_engine.program.attention_plan import plan_arrays


def arrays(q_start, seq_lens, width):
    return plan_arrays(np.array(q_start), np.array(seq_lens), width)


@pytest.mark.parametrize(
    ("q_start", "seq_lens", "width", "pages", "rows", "last_page"),
    [
        ([0, 1], [1], 1, [0, 1], [0, 1], [1]),
        ([0, 1], [32], 1, [0, 1], [0, 1], [32]),
        ([0, 1], [33], 2, [0, 2], [0, 2], [1]),
        ([0, 1, 2], [1, 97], 4, [0, 1, 5], [0, 4, 8], [-95, 1]),
        ([0, 5, 5, 22], [5, 64, 17], 3, [0, 1, 3, 4], [0, 3, 6, 9], [-59, 0, -47]),
    ],
)
def test_arrays_of_a_step(q_start, seq_lens, width, pages, rows, last_page):
    made = arrays(q_start, seq_lens, width)
    assert made.pages.tolist() == pages
    assert made.rows.tolist() == rows
    assert made.last_page.tolist() == last_page
    assert (made.requests, made.tokens) == (len(seq_lens), q_start[-1])


def test_the_kernels_arithmetic_gives_the_length_back():
    lengths = np.array([1, 31, 32, 33, 1000, 4096])
    made = arrays(np.arange(7), lengths, 128)
    # As the kernels do it: unsigned, so that a negative last page wraps round and back.
    unused = (np.diff(made.rows) - 1).astype(np.uint32) * np.uint32(32)
    assert (unused + made.last_page.astype(np.uint32)).tolist() == lengths.tolist()


def test_everything_is_int32_in_one_piece():
    made = arrays(np.arange(4, dtype=np.int64), np.array([7, 8, 9], dtype=np.int64), 2)
    for one in (made.q_start, made.seq_lens, made.pages, made.rows, made.last_page):
        assert one.dtype == np.int32
        assert one.flags.c_contiguous


@pytest.mark.parametrize(
    ("q_start", "seq_lens", "width", "message"),
    [
        ([0, 1], [4, 4], 1, "q_start: 2 entries for 2 requests; one more"),
        ([0], [], 1, "q_start: must rise from 0"),
        ([1, 2], [4], 1, "q_start: must rise from 0"),
        ([0, 3, 2], [4, 4], 1, "q_start: must rise from 0"),
        ([0, 5], [4], 1, "seq_lens: a request has fewer tokens"),
        ([0, 0], [0], 1, "seq_lens: a request has fewer tokens"),
        ([0, 1], [65], 2, "table_width: 2 blocks; the longest sequence takes 3"),
    ],
)
def test_lengths_that_contradict_each_other_are_refused(q_start, seq_lens, width, message):
    with pytest.raises(ValueError, match=message):
        arrays(q_start, seq_lens, width)
