"""The accounts of the KV cache's blocks: who holds which, and which still hold a known content.

Every block but block 0 (padding writes there, it belongs to nobody) is in exactly one state:

    free   no holder, content unknown
    held   by one request or several
    idle   no holder, but its content has a name: found again, or evicted, oldest first
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable


class BlockPool:
    """The blocks of one KV cache; `blocks` counts block 0 too."""

    def __init__(self, blocks: int) -> None:
        if blocks < 2:
            raise ValueError(f"a pool of {blocks} blocks has none to give: block 0 is for padding")
        self.total = blocks - 1
        self._free = deque(range(1, blocks))
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._holders = [0] * blocks
        self._names: dict[int, bytes] = {}
        self._found: dict[bytes, int] = {}

    @property
    def available(self) -> int:
        """Blocks that can be taken now."""
        return len(self._free) + len(self._idle)

    @property
    def used(self) -> int:
        """Blocks that requests hold."""
        return self.total - self.available

    @property
    def idle(self) -> int:
        """Blocks nobody holds whose content can still be found."""
        return len(self._idle)

    def is_idle(self, block: int) -> bool:
        """True when the block has a known content and no holder."""
        return block in self._idle

    def take(self) -> int:
        """A block with one holder; free ones first, then the idle one unused for longest."""
        if self._free:
            block = self._free.popleft()
        else:
            block, _ = self._idle.popitem(last=False)
            self._forget(block)
        self._holders[block] = 1
        return block

    def share(self, block: int) -> None:
        """One holder more for a block that was found by its name."""
        self._idle.pop(block, None)
        self._holders[block] += 1

    def release(self, block: int) -> None:
        """One holder less; the last one leaves it idle when its content has a name, else free."""
        assert self._holders[block] > 0, f"block {block} has no holder"
        self._holders[block] -= 1
        if self._holders[block] == 0:
            if block in self._names:
                self._idle[block] = None
            else:
                self._free.append(block)

    def name(self, block: int, key: bytes) -> None:
        """Say what a held block contains; the first name, and the first block of a name, stay."""
        if key not in self._found and block not in self._names:
            self._found[key] = block
            self._names[block] = key

    def find(self, key: bytes) -> int | None:
        """The block with that content."""
        return self._found.get(key)

    def forget_idle(self) -> None:
        """Make every idle block free."""
        while self._idle:
            block, _ = self._idle.popitem(last=False)
            self._forget(block)
            self._free.append(block)

    def check(self, held: Iterable[int]) -> None:
        """Check every account against the blocks that requests hold (one entry a holder)."""
        holders = Counter(held)
        free, idle = set(self._free), set(self._idle)
        everyone = set(range(1, self.total + 1))
        assert 0 not in holders, "a request holds block 0"
        assert len(free) == len(self._free), "a block is free twice"
        assert not free & idle, f"free and idle: {free & idle}"
        assert free | idle | set(holders) == everyone, "a block is lost"
        assert not (free | idle) & set(holders), f"held and not: {(free | idle) & set(holders)}"
        assert all(self._holders[b] == holders[b] for b in everyone), "a holder was miscounted"
        assert idle <= set(self._names), "an idle block has no name"
        assert not free & set(self._names), "a free block has a name"
        assert {key: b for b, key in self._names.items()} == self._found, "names and finds differ"

    def _forget(self, block: int) -> None:
        del self._found[self._names.pop(block)]
