"""Rope and append against their formula."""

import pytest
import torch
from interpreted import run
from paged_step import step

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import rope_append
from nacelle_engine.ops.gpu.attention_shape import AttentionShape

STEPS = ([(1, 1)], [(17, 50), (1, 33), (5, 5)])


@pytest.mark.parametrize("lengths", STEPS)
@pytest.mark.parametrize("norm_eps", [None, 1e-5])
@pytest.mark.parametrize("fp8", [False, True])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim", "rotary"),
    [
        (9, 3, 64, None),
        (8, 1, 128, 96),
        (2, 2, 16, None),
        (3, 1, 32, 2),
        (5, 5, 96, None),
        (3, 1, 80, 32),
    ],
)
def test_it_is_the_formula(heads, kv_heads, dim, rotary, fp8, norm_eps, lengths):
    model = AttentionShape(
        heads,
        kv_heads,
        dim,
        fp8=fp8,
        norm_eps=norm_eps,
        rotary_dim=rotary,
        architecture=Architecture.SM_89,
    )
    inputs = step(model, lengths)
    kv = inputs["kv"].clone()
    options = {name: inputs[name] for name in ("kv_scales", "q_norm", "k_norm")}
    names = ("qkv", "rope", "positions", "slots")
    wanted = rope_append.reference(*(inputs[name] for name in names), kv, model, **options)
    tokens = inputs["qkv"].shape[0]
    inputs["q_out"] = torch.full((tokens, heads * dim), torch.nan).bfloat16()
    kernel = rope_append.kernel(model, rope_append.choices(model)[0])
    run(kernel, {name: inputs[name] for name in kernel.arguments}, T=tokens)
    torch.testing.assert_close(inputs["q_out"].float(), wanted, rtol=4e-3, atol=1e-5)
    found = inputs["kv"].float()
    torch.testing.assert_close(found, kv.float(), rtol=0.13 if fp8 else 8e-3, atol=2e-2)
    assert float((found != kv.float()).float().mean()) < 1e-3
