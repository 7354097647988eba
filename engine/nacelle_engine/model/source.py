"""Where a checkpoint tensor comes from in a Hugging Face model."""

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Source:
    """The Hugging Face tensors that make one checkpoint tensor.

    The tensors `names` are joined along dimension 0 and cut there into `parts` equal parts, of
    which number `part` is taken; `offset` is added to it.
    """

    names: tuple[str, ...]
    part: int = 0
    parts: int = 1
    offset: float = 0.0

    def within(self, prefix: str) -> Self:
        """The same with a prefix before every name."""
        return replace(self, names=tuple(prefix + name for name in self.names))
