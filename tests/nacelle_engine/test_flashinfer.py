import sys

import numpy as np
import pytest
import torch

from nacelle_engine.errors import AbiMismatch, CorruptBundle
from nacelle_engine.program.attention_library import AttentionLibrary
from nacelle_engine.program.attention_plan import plan_arrays
from nacelle_engine.program.flashinfer import load_functions
from nacelle_engine.program.flashinfer_call import (
    Captured,
    Layer,
    Placed,
    check_step,
    plan_arguments,
    run_arguments,
    window_left,
)

RAGGED = plan_arrays(np.array([0, 3, 4]), np.array([40, 9]), 2)
DECODE = plan_arrays(np.array([0, 1, 2]), np.array([40, 9]), 2)


def library(algorithm, **changes):
    return AttentionLibrary(
        name="a", file="a.so", algorithm=algorithm, head_dim=64, group_size=4,
        kv_dtype="bfloat16", **changes,
    )  # fmt: skip


def plain(arguments):
    return [one.tolist() if isinstance(one, torch.Tensor) else one for one in arguments]


def test_decode_is_planned_by_pages_in_use():
    assert plain(plan_arguments(library("decode"), 8, DECODE, None, -1)) == [
        [0, 2, 3], 2, 8, 2, 32, False, -1, 0.0, 64, 64, [0, 2, 3], [0, 2, 3],
    ]  # fmt: skip


def test_fa2_is_planned_by_queries_and_pages_in_use():
    assert plain(plan_arguments(library("fa2"), 8, RAGGED, None, -1)) == [
        [0, 3, 4], [0, 2, 3], [40, 9], 4, 2, 8, 2, 32, False, 64, 64, True, -1, -1, False, 0, 0,
    ]  # fmt: skip


def test_fa2_in_a_graph_is_planned_for_the_graphs_rows():
    arguments = plain(plan_arguments(library("fa2"), 8, DECODE, Captured(16, decode=True), -1))
    assert arguments[3] == 16
    assert arguments[8] is True
    assert arguments[-1] == 1


def test_fa3_is_planned_by_lengths_and_rows_of_the_table():
    assert plain(plan_arguments(library("fa3"), 8, RAGGED, None, 31)) == [
        [0, 3, 4], [0, 2, 4], [40, 9], 4, 2, 8, 2, 32, False, 64, 64, True, 31,
    ]  # fmt: skip


@pytest.mark.parametrize(("algorithm", "count"), [("decode", 15), ("fa2", 17), ("fa3", 17)])
def test_kernels_get_keys_values_and_scales(algorithm, count):
    kv = torch.arange(2 * 2 * 1 * 32 * 64.0).reshape(2, 2, 1, 32, 64)
    placed = Placed(*(torch.zeros(3, dtype=torch.int32) for _ in range(3)))
    scales, table = torch.ones(2), torch.zeros(2, 2, dtype=torch.int32)
    q = torch.zeros(2, 4, 64)
    layer = Layer(q, kv, table, q.clone(), 0.125, soft_cap=30.0, kv_scales=scales)
    arguments = run_arguments(library(algorithm), placed, layer, 63, True)
    assert len(arguments) == count
    assert torch.equal(arguments[1], kv[:, 0])
    assert torch.equal(arguments[2], kv[:, 1])
    assert arguments[-4:] == (scales, None, 0.125, 30.0)
    assert arguments[-7:-4] == (1, 63, True)


def test_a_window_of_w_tokens_has_w_minus_one_to_the_left():
    assert window_left(library("fa2", sliding_window=True), 512) == 511
    assert window_left(library("fa2"), None) == -1


@pytest.mark.parametrize(("compiled", "window"), [(True, None), (False, 512)])
def test_a_window_that_was_not_compiled_is_refused(compiled, window):
    with pytest.raises(ValueError, match=f"window {window}: a was compiled"):
        window_left(library("fa2", sliding_window=compiled), window)


def test_decode_refuses_more_than_one_query_a_request():
    with pytest.raises(ValueError, match="q_start: decode takes exactly one query a request"):
        check_step(library("decode"), RAGGED, None)
    with pytest.raises(ValueError, match="q_start: decode takes exactly one query a request"):
        check_step(library("fa2"), RAGGED, Captured(4, decode=True))


def test_a_step_larger_than_its_graph_is_refused():
    check_step(library("fa2"), RAGGED, Captured(4, decode=False))
    with pytest.raises(ValueError, match="q_start: 4 tokens in a graph of 3"):
        check_step(library("fa2"), RAGGED, Captured(3, decode=False))


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tvm_ffi", None)
    with pytest.raises(AbiMismatch, match=r"a\.so needs the package apache-tvm-ffi"):
        load_functions(tmp_path / "a.so")


class Refusing:
    """Stands for tvm_ffi, whose loader refuses every file."""

    @staticmethod
    def load_module(file):
        raise RuntimeError("file too short")


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tvm_ffi", Refusing)
    with pytest.raises(CorruptBundle, match=r"a\.so is missing"):
        load_functions(tmp_path / "a.so")


def test_a_library_that_does_not_open_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tvm_ffi", Refusing)
    (tmp_path / "a.so").write_bytes(b"")
    with pytest.raises(CorruptBundle, match=r"a\.so cannot be opened: file too short"):
        load_functions(tmp_path / "a.so")
