from dataclasses import replace

import pytest

from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.program.attention_workspace import LargestStep, float_bytes, int_bytes

H200 = LargestStep(requests=128, tokens=8192, captured_tokens=128, heads=32, multiprocessors=132)


def library(algorithm):
    return AttentionLibrary(
        name="a", file="a.so", algorithm=algorithm, head_dim=128, group_size=4, kv_dtype="bfloat16"
    )


def planned_fa2_bytes(largest, tile, tokens):
    """What FlashInfer's planner asks for in a captured step, as its source has it."""
    tiles = -(-tokens * 4 // tile) + largest.requests - 1
    programs = max(2 * largest.multiprocessors // 8, tiles)
    rows = -(-programs * tile // 4)
    return 4 * largest.heads * rows * 129, 4 * (3 * programs + largest.requests + 2) + programs


@pytest.mark.parametrize("requests", [1, 7, 128])
@pytest.mark.parametrize("tile", [16, 64, 128])
def test_fa2_holds_what_the_planner_asks_for(requests, tile):
    largest = replace(H200, requests=requests)
    floats, ints = planned_fa2_bytes(largest, tile, largest.captured_tokens)
    assert float_bytes(library("fa2"), largest) >= floats
    assert int_bytes(library("fa2"), largest) >= ints


def test_decode_holds_every_resident_program():
    programs = 16 * 132 // 8
    assert float_bytes(library("decode"), H200) >= 4 * 32 * programs * 129
    assert int_bytes(library("decode"), H200) >= 4 * 3 * programs + programs


def test_fa3_holds_seven_numbers_a_tile_and_splits_nothing():
    tiles = (8192 // 128 + 128 - 1) * 32
    assert int_bytes(library("fa3"), H200) >= 4 * (7 * tiles + 133)
    assert float_bytes(library("fa3"), H200) < 8192


@pytest.mark.parametrize("algorithm", ["decode", "fa2", "fa3"])
@pytest.mark.parametrize("field", ["requests", "tokens", "captured_tokens", "multiprocessors"])
def test_a_larger_step_never_needs_less(algorithm, field):
    larger = replace(H200, **{field: 3 * getattr(H200, field)})
    assert int_bytes(library(algorithm), larger) >= int_bytes(library(algorithm), H200)
    assert float_bytes(library(algorithm), larger) >= float_bytes(library(algorithm), H200)


def test_memory_stays_small():
    assert float_bytes(library("fa2"), H200) < 100 * 2**20
    assert int_bytes(library("fa3"), H200) < 2**20
