"""Ragged paged attention against its formula; a query never depends on the rest of the step."""

import pytest
import torch

from nacelle_engine.ops import attention

pytestmark = pytest.mark.usefixtures("kernels")

OPS = torch.ops.nacelle
TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 4e-3}
HEADS = ((9, 3, 64), (4, 4, 16), (8, 1, 80), (4, 2, 48))
# (tokens of this step, tokens in the cache after it) of each request.
STEPS = (
    [(1, 1)],
    [(5, 5), (1, 40), (33, 70)],
    [(200, 200)],
    [(1, 13 * n + 1) for n in range(9)],
    [(31, 32), (1, 33), (0, 0), (64, 65)],
)


def case(
    lengths,
    heads,
    kv_heads,
    dim,
    dtype,
    seed=0,
    rotary=None,
    normed=False,
    window=0,
    scale=None,
    soft_cap=0.0,
):
    """Random inputs with every request's blocks scattered over the cache."""
    torch.manual_seed(seed)
    width = max(-(-length // 32) for _, length in lengths) + 1
    blocks = len(lengths) * width + 1
    table = (torch.randperm(blocks - 1) + 1).int().view(len(lengths), width)
    counts = torch.tensor([count for count, _ in lengths])
    positions = [torch.arange(length - count, length) for count, length in lengths]
    slots = [table[r, p // 32].long() * 32 + p % 32 for r, p in enumerate(positions)]
    tokens = int(counts.sum())
    return {
        "qkv": torch.randn(tokens, (heads + 2 * kv_heads) * dim).to(dtype),
        "cos_sin": torch.randn(tokens, rotary or dim),
        "kv": torch.randn(blocks, 2, kv_heads, 32, dim).to(dtype),
        "slots": torch.cat(slots),
        "q_start": torch.cat((torch.zeros(1), counts.cumsum(0))).int(),
        "block_table": table,
        "seq_lens": torch.tensor([length for _, length in lengths], dtype=torch.int32),
        "q_norm": (1 + 0.1 * torch.randn(dim)).to(dtype) if normed else None,
        "k_norm": (1 + 0.1 * torch.randn(dim)).to(dtype) if normed else None,
        "heads": heads,
        "window": window,
        "scale": scale or dim**-0.5,
        "soft_cap": soft_cap,
        "eps": 1e-6,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), HEADS)
@pytest.mark.parametrize("lengths", STEPS)
def test_attention(dtype, heads, kv_heads, dim, lengths):
    inputs = case(lengths, heads, kv_heads, dim, dtype)
    theirs = {**inputs, "kv": inputs["kv"].clone()}
    found = OPS.attention(*inputs.values())
    expected = attention.reference(*theirs.values())
    assert float((found.float() - expected).norm() / expected.norm()) < TOLERANCE[dtype]
    # A key may round to the other neighbour, no more; values and other blocks are untouched.
    assert torch.equal(inputs["kv"][:, 1], theirs["kv"][:, 1])
    torch.testing.assert_close(inputs["kv"], theirs["kv"], rtol=8e-3, atol=1e-5)


VARIANTS = {
    "partial rotary": {"rotary": 10},
    "head norms": {"normed": True},
    "scale": {"scale": 0.3},
    "soft cap": {"soft_cap": 2.0, "scale": 0.5},
    "window of one": {"window": 1},
    "window within a block": {"window": 20},
    "window of a block": {"window": 32},
    "window over blocks": {"window": 45},
    "window beyond": {"window": 1000},
    "all": {"rotary": 32, "normed": True, "window": 37, "scale": 0.4, "soft_cap": 3.0},
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("lengths", STEPS)
def test_a_family_s_variant(dtype, variant, lengths):
    inputs = case(lengths, 6, 2, 48, dtype, **VARIANTS[variant])
    theirs = {**inputs, "kv": inputs["kv"].clone()}
    found = OPS.attention(*inputs.values())
    expected = attention.reference(*theirs.values())
    assert float((found.float() - expected).norm() / expected.norm()) < TOLERANCE[dtype]
    torch.testing.assert_close(inputs["kv"], theirs["kv"], rtol=8e-3, atol=1e-5)


def test_a_window_hides_what_slid_out():
    lengths = [(3, 100)]
    inputs = case(lengths, 4, 2, 16, torch.float32, window=40)
    found = OPS.attention(*{**inputs, "kv": inputs["kv"].clone()}.values())
    # Position 97 sees 58 to 97: nothing of the first block, and not the second's first 26 tokens.
    dirty = inputs["kv"].clone()
    first, second = inputs["block_table"][0, :2].long()
    dirty[first] = float("nan")
    dirty[second, :, :, :26] = 1e3
    assert torch.equal(OPS.attention(*{**inputs, "kv": dirty}.values()), found)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("variant", [{}, VARIANTS["all"]])
def test_a_query_is_the_same_in_any_step(dtype, variant):
    lengths = [(70, 70), (1, 40), (3, 100)]
    inputs = case(lengths, 9, 3, 64, dtype, **variant)
    together = OPS.attention(*{**inputs, "kv": inputs["kv"].clone()}.values())
    for r, (count, length) in enumerate(lengths):
        kv = inputs["kv"].clone()
        for n in range(count):
            row = int(inputs["q_start"][r]) + n
            alone = OPS.attention(
                inputs["qkv"][row : row + 1],
                inputs["cos_sin"][row : row + 1],
                kv,
                inputs["slots"][row : row + 1],
                torch.tensor([0, 1], dtype=torch.int32),
                inputs["block_table"][r : r + 1],
                torch.tensor([length - count + n + 1], dtype=torch.int32),
                *list(inputs.values())[7:],
            )
            assert torch.equal(alone[0], together[row])


def test_garbage_after_the_sequence_is_never_read():
    inputs = case([(1, 40)], 4, 2, 16, torch.float32)
    clean = OPS.attention(*{**inputs, "kv": inputs["kv"].clone()}.values())
    dirty = inputs["kv"].clone()
    dirty[inputs["block_table"][0, 1].long(), :, :, 8:] = float("nan")
    assert torch.equal(OPS.attention(*{**inputs, "kv": dirty}.values()), clean)


def test_a_cache_of_other_blocks_is_refused():
    inputs = case([(1, 1)], 4, 2, 16, torch.float32)
    with pytest.raises(RuntimeError, match="kv has size 16"):
        OPS.attention(*{**inputs, "kv": inputs["kv"][:, :, :, :16].contiguous()}.values())
