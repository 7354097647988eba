"""Programs that are interpreted together do what each does alone, whatever ways they go."""

import lockstep
import pytest
import torch
import triton
import triton.language as tl

PROGRAMS, WIDTH = 7, 8


@triton.jit
def add_own(x, counts, arrived, order, width: tl.constexpr):
    """Row p of x becomes 2 x + p counts[p]; odd rows also get 100, unless they are of no count."""
    program = tl.program_id(0)
    row = x + program * width + tl.arange(0, width)
    tl.store(row, 2 * tl.load(row))
    count = tl.load(counts + program)
    if count == 0:
        return
    for _ in range(count):
        tl.store(row, tl.load(row) + program)
    place = tl.atomic_add(arrived, 1)
    if program % 2 == 1:
        tl.store(row, tl.load(row) + 100)
    tl.store(order + place, program)


@pytest.mark.parametrize("most", [1, 3, 64])
def test_programs_part_and_do_everything_once(monkeypatch, most):
    monkeypatch.setattr(lockstep, "MOST", most)
    x = torch.randn(PROGRAMS, WIDTH)
    counts = torch.tensor([3, 1, 0, 3, 2, 0, 1], dtype=torch.int32)
    each = torch.arange(PROGRAMS)
    added = each * counts + torch.where((each % 2 == 1) & (counts > 0), 100, 0)
    wanted = 2 * x + added[:, None]
    arrived, order = torch.zeros(1, dtype=torch.int32), torch.full((5,), -1, dtype=torch.int32)
    add_own[(PROGRAMS,)](x, counts, arrived, order, width=WIDTH)
    torch.testing.assert_close(x, wanted, rtol=1e-6, atol=1e-6)
    assert arrived.item() == 5
    assert sorted(order.tolist()) == [0, 1, 3, 4, 6]


@triton.jit
def last_adds(parts, arrived, total, count: tl.constexpr):
    """The last program to arrive adds what all of them left."""
    part, row = tl.program_id(1), tl.program_id(0)
    tl.store(parts + row * count + part, (10 * row + part).to(tl.float32))
    if tl.atomic_add(arrived + row, 1) == count - 1:
        each = tl.load(parts + row * count + tl.arange(0, count))
        tl.store(total + row, tl.sum(each, 0))


def test_one_program_is_the_last_of_each_sum():
    parts, total = torch.full((3, 4), torch.nan), torch.full((3,), torch.nan)
    arrived = torch.zeros(3, dtype=torch.int32)
    last_adds[(3, 4)](parts, arrived, total, count=4)
    assert arrived.tolist() == [4, 4, 4]
    assert total.tolist() == [6, 46, 86]


@triton.jit
def transposed_product(a, b, out, size: tl.constexpr):
    """out[p] = a[p] . b^T, and the largest element behind it."""
    program, each = tl.program_id(0), tl.arange(0, size)
    row, column = each[:, None], each[None, :]
    left = tl.load(a + program * size * size + row * size + column)
    product = tl.dot(left, tl.trans(tl.load(b + row * size + column)))
    place = out + program * (size * size + 1)
    tl.store(place + row * size + column, product)
    tl.store(place + size * size, tl.max(product))


def test_what_all_programs_share_meets_what_each_has():
    torch.manual_seed(0)
    a, b = torch.randn(5, 16, 16), torch.randn(16, 16)
    out = torch.full((5, 257), torch.nan)
    transposed_product[(5,)](a, b, out, size=16)
    wanted = a @ b.T
    torch.testing.assert_close(out[:, :256].view(5, 16, 16), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out[:, 256], wanted.amax((1, 2)), rtol=1e-5, atol=1e-5)
