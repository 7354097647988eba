"""Philox4x32-10: random numbers that are a function of (seed, position, purpose), with no state.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A step's numbers depend
neither on the batch nor on what was drawn before, so an answer can be repeated from any token.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

U32 = NDArray[np.uint32]
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
_ROUNDS = 10


class Purpose(IntEnum):
    """What a number is drawn for; each purpose has its own sequence."""

    TOKEN = 0
    SYNTHETIC = 1


def philox(counter: U32, key: U32) -> U32:
    """Four random words a row: counter uint32 [N, 4], key uint32 [N, 2] -> uint32 [N, 4]."""
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint32) for i in range(4))
    k0, k1 = key[:, 0].astype(np.uint32), key[:, 1].astype(np.uint32)
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(_MULTIPLIERS[0], c0)
        high1, low1 = _multiply(_MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + _WEYL[0], k1 + _WEYL[1]
    return np.stack([c0, c1, c2, c3], axis=1)


def uniforms(seeds: list[int], positions: list[int], purpose: Purpose) -> NDArray[np.float64]:
    """One number in [0, 1) with 53 random bits for each (seed, position)."""
    seed = np.array([s & 0xFFFFFFFFFFFFFFFF for s in seeds], dtype=np.uint64)
    position = np.array(positions, dtype=np.uint64)
    counter = np.zeros((len(seeds), 4), dtype=np.uint32)
    counter[:, 0], counter[:, 1] = _words(position)
    counter[:, 2] = int(purpose)
    words = philox(counter, np.stack(_words(seed), axis=1)).astype(np.uint64)
    bits = (words[:, 0] >> np.uint64(5)) * np.uint64(1 << 26) + (words[:, 1] >> np.uint64(6))
    return bits.astype(np.float64) / float(1 << 53)


def _multiply(multiplier: np.uint64, word: U32) -> tuple[U32, U32]:
    """High and low word of a 32 x 32 bit product."""
    low, high = _words(multiplier * word.astype(np.uint64))
    return high, low


def _words(value: NDArray[np.uint64]) -> tuple[U32, U32]:
    """Low and high word of 64-bit numbers."""
    return value.astype(np.uint32), (value >> np.uint64(32)).astype(np.uint32)
