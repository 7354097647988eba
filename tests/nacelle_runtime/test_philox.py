"""Philox4x32-10 against the known answers published with it (Random123's kat_vectors)."""

import numpy as np
import pytest

from nacelle_runtime.philox import Purpose, philox, uniforms

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers(counter, key, answer):
    got = philox(np.array([counter], dtype=np.uint32), np.array([key], dtype=np.uint32))
    assert got.tolist() == [answer]


def test_uniforms_depend_on_seed_and_position_alone():
    alone = uniforms([7], [3], Purpose.TOKEN)
    together = uniforms([1, 7, 7], [3, 3, 4], Purpose.TOKEN)
    assert together[1] == alone[0]
    assert len(set(together.tolist())) == 3


def test_uniforms_are_uniform():
    numbers = uniforms(list(range(20_000)), [5] * 20_000, Purpose.TOKEN)
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    chi_squared = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_squared < 43.8  # 19 degrees of freedom, p = 0.001
