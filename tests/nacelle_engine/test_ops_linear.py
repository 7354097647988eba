"""The linear ops against their formulas, over odd shapes; a row never depends on its batch."""

import functools

import pytest
import torch

from nacelle_engine.ops import dequantise, linear, norm_gate_up, norm_linear, norm_logits
from nacelle_engine.ops import norm as plain_norm
from nacelle_engine.ops.kernels import bfloat16_kernel, eager_kernels, load_kernels
from nacelle_engine.ops.norm_gate_up import GELU_TANH, SILU

OPS = torch.ops.nacelle
FUSED, ATEN = [1, 0], [1, 1]
# float32: sums of up to 1,536 terms in another order. bfloat16: one rounding of the result, 2^-9.
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2.5e-3}
TOKENS = (1, 2, 3, 4, 5, 7, 8, 13, 129)
SHAPES = ((1, 16), (7, 48), (101, 576), (97, 1536))


@pytest.fixture(scope="module", params=[(), ("NACELLE_EMULATED_TILES",)], ids=["own", "tiles"])
def kernels(request, library_of):
    """What this CPU runs, and the kernel of tiles on any CPU."""
    library = library_of(*request.param)
    with eager_kernels(library):
        yield library


@pytest.fixture(autouse=True)
def rounds_rows(kernels):
    """True where our kernel takes normed rows of bfloat16 rounded, as ATen does."""
    return bfloat16_kernel(load_kernels(kernels)) != "fma"


def error(found, expected):
    return float((found.float() - expected).norm() / expected.norm())


@functools.lru_cache(maxsize=256)
def inputs(tokens, rows, width, dtype):
    torch.manual_seed(tokens * 1000 + rows)
    return (
        torch.randn(tokens, width).to(dtype),
        torch.randn(tokens, width),
        (1 + 0.1 * torch.randn(width)).to(dtype),
        (torch.randn(rows, width) / width**0.5).to(dtype),
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("rows", "width"), SHAPES)
@pytest.mark.parametrize("tactic", [FUSED, ATEN])
def test_linear(dtype, rows, width, tactic):
    for tokens in TOKENS:
        x, _, _, weight = inputs(tokens, rows, width, dtype)
        found = OPS.linear(x, weight, None, tactic)
        assert found.dtype == dtype and found.shape == (tokens, rows)
        assert error(found, linear.reference(x, weight)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("rows", "width"), SHAPES[1:])
@pytest.mark.parametrize("tactic", [FUSED, ATEN])
def test_norm_linear(dtype, rows, width, tactic, rounds_rows):
    # Normed rows rounded to the compute type: one rounding more.
    tolerance = TOLERANCE[dtype] * (2 if tactic == ATEN or rounds_rows else 1)
    for tokens in TOKENS:
        x, residual, norm, weight = inputs(tokens, rows, width, dtype)
        found, total = OPS.norm_linear(x, residual, norm, weight, None, 1e-5, tactic)
        expected, sums = norm_linear.reference(x, residual, norm, weight, None, 1e-5)
        assert error(found, expected) < tolerance
        assert torch.equal(total, sums)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("rows", "width"), SHAPES[1:])
@pytest.mark.parametrize("tactic", [FUSED, ATEN])
@pytest.mark.parametrize("activation", [SILU, GELU_TANH])
def test_norm_gate_up(dtype, rows, width, tactic, activation):
    # Rounded gate and up, and their product: three roundings more with ATen.
    tolerance = TOLERANCE[dtype] * (4 if tactic == ATEN else 2)
    for tokens in TOKENS:
        x, residual, norm, weight = inputs(tokens, 2 * rows, width, dtype)
        found, total = OPS.norm_gate_up(x, residual, norm, weight, 1e-5, activation, tactic)
        expected, sums = norm_gate_up.reference(x, residual, norm, weight, 1e-5, activation)
        assert error(found, expected) < tolerance
        assert torch.equal(total, sums)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_logits_are_float32(dtype, rounds_rows):
    tolerance = 2.5e-3 if rounds_rows and dtype == torch.bfloat16 else 2e-6
    for tokens in TOKENS:
        x, residual, norm, weight = inputs(tokens, 1001, 64, dtype)
        found = OPS.norm_logits(x, residual, norm, weight, 1e-5, 0.0)
        assert found.dtype == torch.float32
        assert error(found, norm_logits.reference(x, residual, norm, weight, 1e-5, 0.0)) < tolerance


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_logits_are_held_under_a_soft_cap(scale):
    x, residual, norm, weight = inputs(5, 1001, 64, torch.float32)
    found = OPS.norm_logits(x, residual, norm, weight * scale, 1e-5, 3.0)
    expected = norm_logits.reference(x, residual, norm, weight * scale, 1e-5, 3.0)
    assert error(found, expected) < 2e-6
    assert float(found.abs().max()) <= 3.0


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("tactic", [FUSED, ATEN])
def test_a_bias_is_added_to_every_row(dtype, tactic, rounds_rows):
    # Rounded normed rows; ATen may also round the product before the bias is added.
    tolerance = TOLERANCE[dtype] * (3 if tactic == ATEN else 1 + rounds_rows)
    for tokens in TOKENS:
        x, residual, norm, weight = inputs(tokens, 101, 576, dtype)
        bias = torch.randn(101).to(dtype)
        found = OPS.linear(x, weight, bias, tactic)
        assert error(found, linear.reference(x, weight, bias)) < tolerance
        found, _ = OPS.norm_linear(x, residual, norm, weight, bias, 1e-5, tactic)
        expected, _ = norm_linear.reference(x, residual, norm, weight, bias, 1e-5)
        assert error(found, expected) < tolerance


def test_a_bias_of_another_size_is_refused():
    x, _, _, weight = inputs(2, 7, 48, torch.float32)
    with pytest.raises(RuntimeError, match="bias has size 6"):
        OPS.linear(x, weight, torch.zeros(6), FUSED)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [16, 48, 576])
def test_norm(dtype, width):
    for tokens in TOKENS:
        x, _, weight, _ = inputs(tokens, 1, width, dtype)
        found = OPS.norm(x, weight, 1e-5)
        assert found.dtype == dtype
        assert error(found, plain_norm.reference(x, weight, 1e-5)) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("tokens", [2, 5, 8, 67])
def test_a_row_is_the_same_in_any_batch(dtype, tokens):
    x, residual, norm, weight = inputs(tokens, 202, 576, dtype)
    together, _ = OPS.norm_gate_up(x, residual, norm, weight, 1e-5, SILU, FUSED)
    projected = OPS.linear(x, weight, None, FUSED)
    for row in range(tokens):
        one = slice(row, row + 1)
        alone, _ = OPS.norm_gate_up(x[one], residual[one], norm, weight, 1e-5, SILU, FUSED)
        assert torch.equal(alone[0], together[row])
        assert torch.equal(OPS.linear(x[one], weight, None, FUSED)[0], projected[row])


def test_a_tactic_holds_from_its_first_number_of_tokens():
    x, _, _, weight = inputs(4, 64, 576, torch.float32)
    ours, aten = OPS.linear(x, weight, None, FUSED), OPS.linear(x, weight, None, ATEN)
    assert not torch.equal(ours, aten)
    assert torch.equal(OPS.linear(x, weight, None, [1, 1, 4, 0]), ours)
    assert torch.equal(OPS.linear(x, weight, None, [1, 0, 4, 1, 5, 0]), aten)


def test_a_wrong_width_is_refused():
    with pytest.raises(RuntimeError, match="x has size 32"):
        OPS.linear(torch.zeros(2, 32), torch.zeros(3, 48), None, FUSED)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_dequantise_is_exact_for_every_code(kernels, dtype):
    codes = torch.arange(256, dtype=torch.uint8)
    codes = codes[(codes & 0x7F) != 0x7F].repeat(3, 1).view(torch.float8_e4m3fn)
    scale = torch.tensor([1.0, 0.37, 3e-4])
    found = dequantise.dequantise(load_kernels(kernels), codes, scale, dtype)
    assert torch.equal(found, dequantise.reference(codes, scale, dtype))
