"""Rows of the embedding table."""

import pytest
import torch
from interpreted import run

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu import embed
from nacelle_engine.ops.gpu.embed import Shape


@pytest.mark.parametrize("multiplier", [1.0, 45.25])
@pytest.mark.parametrize(("tokens", "hidden"), [(1, 48), (5, 576), (17, 5000)])
def test_it_is_the_formula(multiplier, tokens, hidden):
    torch.manual_seed(tokens)
    table, token_ids = torch.randn(50, hidden).bfloat16(), torch.randint(50, (tokens,))
    shape = Shape(hidden, multiplier, Architecture.SM_89)
    for choice in embed.choices(shape):
        x = torch.full((tokens, hidden), torch.nan).bfloat16()
        kernel = embed.kernel(shape, choice)
        run(kernel, {"token_ids": token_ids, "table": table, "x": x}, T=tokens)
        assert torch.equal(x, embed.reference(token_ids, table, shape))
