"""The kernel of tiles: emulated on any CPU, and the real one where there is one."""

import pytest
import torch

from nacelle_engine.arch import cpu_flags
from nacelle_engine.ops.kernels import bfloat16_kernel, eager_kernels, load_kernels
from nacelle_engine.ops.norm_gate_up import SILU

OPS = torch.ops.nacelle
FUSED, ATEN = [1, 0], [1, 1]
EMULATED = "NACELLE_EMULATED_TILES"
TOKENS = (1, 2, 3, 5, 8, 17, 33)
# One row, a tile and one, odd rows of several blocks; widths that end within a tile of 32.
SHAPES = ((1, 16), (7, 48), (17, 80), (101, 576), (97, 1536))


def real_tiles(library_of):
    """Path of the shipped library; skips where it has no tiles to use."""
    library = library_of()
    if bfloat16_kernel(load_kernels(library)) != "amx-bf16":
        pytest.skip("this CPU has no AMX for bfloat16, or the system does not grant it")
    return library


@pytest.fixture(params=["emulated", "real"])
def tiles(request, library_of):
    """torch.ops.nacelle runs on tiles while the test lasts."""
    library = library_of(EMULATED) if request.param == "emulated" else real_tiles(library_of)
    with eager_kernels(library):
        yield request.param


def signs(tokens, width):
    """Rows of 1 and -1: their root mean square is 1, so the norm gives exactly its weights."""
    return torch.randint(2, (tokens, width)).mul(2).sub(1).to(torch.bfloat16)


def inputs(tokens, rows, width):
    torch.manual_seed(tokens * 1000 + rows)
    norm = (1 + 0.1 * torch.randn(width)).to(torch.bfloat16)
    weight = (torch.randn(rows, width) / width**0.5).to(torch.bfloat16)
    return signs(tokens, width), torch.zeros(tokens, width), norm, weight


def results(tokens, rows, width):
    """What each op gives for one set of inputs."""
    x, residual, norm, weight = inputs(tokens, 2 * rows, width)
    mixed = torch.randn(tokens, width).to(torch.bfloat16)
    return (
        OPS.linear(mixed, weight, None, FUSED),
        OPS.norm_linear(mixed, residual, norm, weight, None, 1e-5, FUSED)[0],
        OPS.norm_gate_up(mixed, residual, norm, weight, 1e-5, SILU, FUSED)[0],
        OPS.norm_logits(mixed, residual, norm, weight, 1e-5, 0.0),
    )


@pytest.mark.parametrize(("rows", "width"), SHAPES)
def test_sums_of_products_are_float32(tiles, rows, width):
    for tokens in TOKENS:
        x, residual, norm, weight = inputs(tokens, rows, width)
        found = OPS.norm_logits(x, residual, norm, weight, 0.0, 0.0).double()
        expected = (x.double() * norm.double()) @ weight.double().T
        assert float((found - expected).norm() / expected.norm()) < 2e-6


@pytest.mark.parametrize(("rows", "width"), SHAPES)
def test_what_lies_around_a_weight_is_left_out(tiles, rows, width):
    around = torch.full((rows + 64, width), torch.nan, dtype=torch.bfloat16)
    for tokens in TOKENS:
        x, _, _, weight = inputs(tokens, rows, width)
        around[32 : rows + 32] = weight
        found = OPS.linear(x, around[32 : rows + 32], None, FUSED)
        assert torch.equal(found, OPS.linear(x, weight, None, FUSED))


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [2, 8, 16, 17, 33, 67])
@pytest.mark.parametrize(("rows", "width"), SHAPES)
def test_a_row_is_the_same_in_any_batch_and_thread(tiles, tokens, rows, width):
    x, residual, norm, weight = inputs(tokens, 2 * rows, width)
    together = OPS.linear(x, weight, None, FUSED)
    gated, _ = OPS.norm_gate_up(x, residual, norm, weight, 1e-5, SILU, FUSED)
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        for row in range(tokens):
            one = slice(row, row + 1)
            assert torch.equal(OPS.linear(x[one], weight, None, FUSED)[0], together[row])
            alone, _ = OPS.norm_gate_up(x[one], residual[one], norm, weight, 1e-5, SILU, FUSED)
            assert torch.equal(alone[0], gated[row])
    finally:
        torch.set_num_threads(threads)


def test_an_element_that_is_not_a_number_stays_in_its_row(tiles):
    x, _, _, weight = inputs(5, 40, 576)
    expected = OPS.linear(x, weight, None, FUSED)
    x[3, 7] = torch.nan
    found = OPS.linear(x, weight, None, FUSED)
    assert found[3].isnan().all()
    assert torch.equal(found[[0, 1, 2, 4]], expected[[0, 1, 2, 4]])


def test_torchs_own_tiles_may_be_used_between(tiles):
    x, _, _, weight = inputs(33, 101, 576)
    ours, aten = OPS.linear(x, weight, None, FUSED), OPS.linear(x, weight, None, ATEN)
    for _ in range(3):
        assert torch.equal(OPS.linear(x, weight, None, FUSED), ours)
        assert torch.equal(OPS.linear(x, weight, None, ATEN), aten)


def test_emulated_and_real_tiles_differ_by_the_order_of_sums_at_most(library_of):
    real = real_tiles(library_of)
    for rows, width in SHAPES:
        for tokens in TOKENS:
            with eager_kernels(real):
                found = results(tokens, rows, width)
            with eager_kernels(library_of(EMULATED)):
                expected = results(tokens, rows, width)
            for one, other in zip(found, expected, strict=True):
                # Of bfloat16 results a few fall to the other side of a rounding.
                limit = 2e-6 if one.dtype == torch.float32 else 1e-3
                assert float((one.float() - other.float()).norm() / other.float().norm()) < limit


def test_the_kernel_in_use_has_a_name(library_of):
    assert bfloat16_kernel(load_kernels(library_of(EMULATED))) == "amx-bf16"
    shipped = bfloat16_kernel(load_kernels(library_of()))
    has_tiles = {"amx_tile", "amx_bf16"} <= cpu_flags()
    # A kernel that shows the flags may still refuse the permission.
    assert shipped == "fma" or (shipped == "amx-bf16" and has_tiles)
