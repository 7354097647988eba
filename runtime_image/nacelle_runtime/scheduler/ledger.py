"""Which blocks running requests hold, and which they may still take."""

from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Request
from nacelle_runtime.scheduler.bounds import Policy


class Ledger:
    """The accounts between requests and the pool.

    A running request has blocks reserved: for its longest answer, or (MAX_UTILIZATION) for the
    tokens it had when it was admitted. Up to there taking one never fails; beyond, only `free`
    blocks can be taken. `hit_tokens` of the `asked_tokens` in admitted prompts were found in the
    prefix cache.
    """

    def __init__(
        self, pool: BlockPool, prefixes: PrefixCache | None, size: int, policy: Policy
    ) -> None:
        self.pool = pool
        self.promised = 0
        self.hit_tokens = 0
        self.asked_tokens = 0
        self._prefixes = prefixes
        self._size = size
        self._evicts = policy is Policy.MAX_UTILIZATION

    @property
    def free(self) -> int:
        """Blocks that are neither held nor promised."""
        return self.pool.available - self.promised

    def admit(self, request: Request, running: int) -> bool:
        """Reserve blocks for a request beside `running` others; False when there are too few."""
        hits = self._prefixes.match(request) if self._prefixes is not None else []
        reserved = self.blocks_for(len(request.tokens) if self._evicts else request.longest)
        new = reserved - len(hits)
        revived = sum(self.pool.is_idle(block) for block in hits)
        # Who may be put back leaves each running one a block to grow by: else one of the two
        # would soon be put back, and computed again for nothing.
        spare = running if self._evicts else 0
        if new + revived + spare > self.free:
            return False
        for block in hits:
            self.pool.share(block)
        request.blocks = hits
        request.named = len(hits)
        request.computed = request.planned = len(hits) * self._size
        request.reserved = reserved
        self.promised += new
        if not request.produced:
            self.hit_tokens += request.computed
            self.asked_tokens += len(request.prompt)
        return True

    def take(self, request: Request) -> None:
        """One block more for a request; beyond what is reserved there must be a free one."""
        if len(request.blocks) < request.reserved:
            self.promised -= 1
        else:
            assert self.free > 0, "a block was taken that is promised to another"
        request.blocks.append(self.pool.take())

    def store(self, request: Request) -> None:
        """Let the prefix cache know the blocks that have become full."""
        if self._prefixes is not None and request.computed // self._size > request.named:
            self._prefixes.store(request)

    def close(self, request: Request) -> list[int]:
        """End a request's account; gives its blocks, which are still to be released."""
        self.promised -= self.owed(request)
        blocks, request.blocks = request.blocks, []
        request.reserved = request.computed = request.planned = request.named = 0
        return blocks

    def release(self, blocks: list[int]) -> None:
        """Let go of a request's blocks, last first: a prefix is worth most at its head."""
        for block in reversed(blocks):
            self.pool.release(block)

    def owed(self, request: Request) -> int:
        """Blocks reserved for a request that it has not taken yet."""
        return max(request.reserved - len(request.blocks), 0)

    def blocks_for(self, tokens: int) -> int:
        """Blocks that hold so many tokens."""
        return -(-tokens // self._size)
