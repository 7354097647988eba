"""The pool of blocks against a plain model of it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacelle_runtime.kv_blocks import BlockPool


def test_block_0_is_never_given():
    pool = BlockPool(4)
    assert sorted(pool.take() for _ in range(3)) == [1, 2, 3]
    assert pool.available == 0


def test_a_pool_needs_a_block_beside_block_0():
    with pytest.raises(ValueError, match="block 0 is for padding"):
        BlockPool(1)


def test_the_block_unused_for_longest_is_evicted_first():
    pool = BlockPool(4)
    blocks = [pool.take() for _ in range(3)]
    for block in blocks:
        pool.name(block, b"%d" % block)
    for block in (blocks[1], blocks[0], blocks[2]):
        pool.release(block)
    assert pool.find(b"%d" % blocks[1]) == blocks[1]
    assert pool.take() == blocks[1]
    assert pool.find(b"%d" % blocks[1]) is None
    pool.check([blocks[1]])


def test_a_content_two_blocks_have_is_found_once():
    pool = BlockPool(4)
    first, second = pool.take(), pool.take()
    pool.name(first, b"same")
    pool.name(second, b"same")
    pool.release(second)
    assert pool.find(b"same") == first
    assert not pool.is_idle(second)
    pool.check([first])


def test_check_finds_a_lost_block_and_a_false_holder():
    pool = BlockPool(4)
    block = pool.take()
    with pytest.raises(AssertionError, match="a block is lost"):
        pool.check([])
    with pytest.raises(AssertionError, match="miscounted"):
        pool.check([block, block])


@given(seed=st.integers(0, 2**32), blocks=st.integers(2, 12))
def test_random_walks_keep_the_accounts(seed, blocks):
    walk = random.Random(seed)
    pool, held = BlockPool(blocks), []
    for _ in range(200):
        action = walk.random()
        if action < 0.4 and pool.available:
            held.append(pool.take())
        elif action < 0.7 and held:
            pool.release(held.pop(walk.randrange(len(held))))
        elif action < 0.9 and held:
            pool.name(walk.choice(held), b"%d" % walk.randrange(6))
        else:
            block = pool.find(b"%d" % walk.randrange(6))
            if block is not None:
                pool.share(block)
                held.append(block)
        pool.check(held)
        assert pool.used == len(set(held))
    pool.forget_idle()
    pool.check(held)
    assert pool.idle == 0
