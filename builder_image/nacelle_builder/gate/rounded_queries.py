"""Rounds the eager reference's queries, after rope, as a library does that reads them in FP8.

What is beyond E4M3's range stays as it is: an engine that cuts it off must not pass.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch

from nacelle_builder.convert.quantize import E4M3_MAX
from nacelle_builder.gate.fake_quantise import Stretch, round_static

# The attention that transformers' models without a soft cap run here (eager_model.py).
_ATTENTION: Final = "sdpa"


@contextmanager
def rounded_queries(eager: Any, stretches: Sequence[Stretch]) -> Iterator[None]:
    """While inside, the queries [..., tokens, D] of the stretches that say so become E4M3's."""
    if not any(one.rounding.queries for one in stretches):
        yield
        return
    # Imported here: seconds that most commands should not pay.
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    functions: Any = ALL_ATTENTION_FUNCTIONS
    assert eager.config._attn_implementation == _ATTENTION, "the queries would not be rounded"
    plain = functions[_ATTENTION]

    def attention(module: Any, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
        parts = torch.split(query, [one.tokens for one in stretches], dim=-2)
        rounded = [
            _rounded(part) if one.rounding.queries else part
            for part, one in zip(parts, stretches, strict=True)
        ]
        return plain(module, torch.cat(rounded, dim=-2), *rest, **options)

    functions[_ATTENTION] = attention
    try:
        yield
    finally:
        functions[_ATTENTION] = plain


def _rounded(queries: torch.Tensor) -> torch.Tensor:
    return torch.where(queries.abs() > E4M3_MAX, queries, round_static(queries, 1.0))
