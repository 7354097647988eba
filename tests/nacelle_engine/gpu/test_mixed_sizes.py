"""Which mixed steps are captured, and which of them a step takes: by table."""

import pytest

from nacelle_engine.program.mixed_sizes import MixedSize, fitting, mixed_sizes

ENDS = (1, 2, 4, 8, 16, 256, 1024, 8192)
LARGE = mixed_sizes(ENDS, 8192, 160)


@pytest.mark.parametrize(
    ("ends", "tokens", "requests", "found"),
    [
        ((1, 2), 2, 1, [(2, 1)]),
        ((1,), 1, 1, []),
        ((1, 4, 16, 40), 40, 6, [(4, 4), (16, 6), (32, 6), (40, 6)]),
        (
            (16, 100),
            100,
            64,
            [
                *((16, 16), (32, 16), (32, 32), (64, 16), (64, 64)),
                *((96, 16), (96, 64), (100, 16), (100, 64)),
            ],
        ),
    ],
)
def test_the_captured_sizes(ends, tokens, requests, found):
    assert mixed_sizes(ends, tokens, requests) == tuple(MixedSize(*one) for one in found)


def test_they_end_at_256_tokens_and_the_largest_batch():
    assert LARGE[-2:] == (MixedSize(256, 16), MixedSize(256, 160))
    assert len(LARGE) == 20


@pytest.mark.parametrize(
    ("tokens", "requests", "found"),
    [
        (2, 1, (2, 2)),
        (3, 3, (4, 4)),
        (17, 16, (32, 16)),
        (17, 17, (32, 32)),
        (128, 9, (128, 16)),
        (129, 9, (160, 16)),
        (200, 150, (224, 160)),
        (256, 160, (256, 160)),
        (257, 9, None),
        (20, 161, None),
    ],
)
def test_a_step_takes_the_smallest_that_holds_it(tokens, requests, found):
    assert fitting(LARGE, tokens, requests) == (found and MixedSize(*found))


def test_every_step_that_can_be_is_held_by_a_size_of_its_range():
    for tokens in range(2, 257):
        for requests in range(1, min(tokens, 160) + 1):
            size = fitting(LARGE, tokens, requests)
            first = min(end for end in ENDS if end >= tokens)
            assert size and first == min(end for end in ENDS if end >= size.tokens)
