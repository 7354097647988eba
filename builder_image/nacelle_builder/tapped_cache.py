"""A KV cache of transformers that shows keys (after rope) and values on their way into it."""

from collections.abc import Callable
from typing import Any

import torch

Tap = Callable[[int, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def tapped_cache(config: Any, tap: Tap) -> Any:
    """An empty cache for one call of a model.

    `tap` is given (layer, keys, values), both [sequences, kv_heads, tokens, head_dim], and gives
    what is stored, and attended to, in their place.
    """
    # Imported here: seconds that most commands should not pay.
    from transformers import DynamicCache

    base: Any = DynamicCache

    class Tapped(base):  # type: ignore[misc]
        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *rest: Any
        ) -> Any:
            """Store, and give back, what the tap makes of the step's keys and values."""
            keys, values = tap(layer_idx, key_states, value_states)
            return super().update(keys, values, layer_idx, *rest)

    return Tapped(config=config)
