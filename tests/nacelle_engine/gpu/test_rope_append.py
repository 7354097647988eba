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


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(9, 3, 64), (8, 1, 128), (3, 1, 80)])
def test_queries_become_e4m3_and_stop_at_its_largest_value(heads, kv_heads, dim):
    model = AttentionShape(heads, kv_heads, dim, fp8=True, architecture=Architecture.SM_89)
    inputs = step(model, STEPS[1])
    # Some above 448, others below the smallest normal number.
    inputs["qkv"] = (inputs["qkv"].float() * 300).bfloat16()
    inputs["qkv"][::2] /= 3e4
    names = ("qkv", "rope", "positions", "slots")
    arguments = [inputs[name] for name in names]
    wanted = rope_append.reference(
        *arguments, inputs["kv"].clone(), model, kv_scales=inputs["kv_scales"]
    )
    tokens = inputs["qkv"].shape[0]
    inputs["q_out"] = torch.full((tokens, heads * dim), torch.nan).to(torch.float8_e4m3fn)
    kernel = rope_append.kernel(model, rope_append.choices(model)[0], fp8_queries=True)
    run(kernel, {name: inputs[name] for name in kernel.arguments}, T=tokens)
    assert float(wanted.abs().max()) > 448
    found, exact = inputs["q_out"].float(), wanted.clamp(-448, 448)
    # Half a step of 3 bits, and half a subnormal step.
    torch.testing.assert_close(found, exact, rtol=2**-4, atol=2**-10)
    nearest = exact.to(torch.float8_e4m3fn).float()
    assert float((found != nearest).float().mean()) < 1e-3
