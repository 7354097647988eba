"""Iteration-level batching: which tokens of which requests the next step runs.

Policy GUARANTEED_NO_EVICT: a request is admitted only when blocks for the longest answer it can
give are available, so a running request is never thrown out. First come, first served.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from nacelle_runtime.batch import Batch, Chunk, Draw, Produced
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import FinishReason, Refusal, RefusalCode, Request, RequestId


@dataclass(frozen=True)
class Bounds:
    """What a step and a request may hold; `prefill_tokens` is the prompts' share of a step."""

    requests: int
    tokens: int
    prefill_tokens: int
    input_len: int
    sequence_len: int
    vocabulary: int
    queue: int
    tokens_per_block: int = 32


class Scheduler:
    """The requests that wait and run, and the blocks they hold."""

    def __init__(self, bounds: Bounds, pool: BlockPool, prefixes: PrefixCache | None) -> None:
        self.bounds = bounds
        self.pool = pool
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self.hit_tokens = 0
        self._prefixes = prefixes
        self._requests: dict[RequestId, Request] = {}
        # Blocks promised to running requests and not taken yet.
        self._promised = 0

    @property
    def idle(self) -> bool:
        """True when no request waits or runs."""
        return not self._requests

    @property
    def requests(self) -> list[RequestId]:
        """The requests that wait or run, in order of arrival."""
        return list(self._requests)

    def submit(self, request: Request) -> Refusal | None:
        """Queue a request, or say why not."""
        refusal = self._refusal(request)
        if refusal is None:
            self.waiting.append(request)
            self._requests[request.id] = request
            self._admit()
        return refusal

    def cancel(self, requests: Iterable[RequestId]) -> int:
        """Forget requests and free their blocks; gives how many of them there still were."""
        cancelled = 0
        for name in requests:
            request = self._requests.get(name)
            if request is None:
                continue
            cancelled += 1
            if request in self.running:
                self._finish(request)
            else:
                self.waiting.remove(request)
                del self._requests[name]
        return cancelled

    def schedule(self) -> Batch | None:
        """The next step's batch: every decode, then prompts in order of arrival; None when idle."""
        self._admit()
        chunks = [self._chunk(r, 1) for r in self.running if _left(r) == 1]
        budget = min(self.bounds.tokens - len(chunks), self.bounds.prefill_tokens)
        for request in self.running:
            if budget and _left(request) > 1:
                chunks.append(self._chunk(request, min(budget, _left(request))))
                budget -= len(chunks[-1].tokens)
        return Batch(tuple(chunks)) if chunks else None

    def commit(self, batch: Batch, tokens: list[int]) -> list[Produced]:
        """Take over what a step computed: `tokens` holds one id for each of its draws."""
        drawn = iter(tokens)
        produced: list[Produced] = []
        for chunk in batch.chunks:
            token = next(drawn) if chunk.draw is not None else None
            request = self._requests[chunk.request]
            request.computed = chunk.end
            if self._prefixes is not None:
                self._prefixes.store(request)
            if token is not None:
                produced.append(self._append(request, token))
        return produced

    def check(self) -> None:
        """Check every invariant of requests and blocks; an AssertionError is a bug of ours."""
        size, held = self.bounds.tokens_per_block, [b for r in self.running for b in r.blocks]
        self.pool.check(held)
        left = [self._blocks_for(r) - len(r.blocks) for r in self.running]
        assert all(n >= 0 for n in left), "a request holds more than it was promised"
        assert self._promised == sum(left), f"promised {self._promised}, owed {sum(left)}"
        assert self._promised <= self.pool.available, "more is promised than there is"
        assert len(self.running) <= self.bounds.requests, "too many requests run"
        assert len(self.waiting) <= self.bounds.queue, "too many requests wait"
        assert all(not r.blocks for r in self.waiting), "a waiting request holds blocks"
        assert set(self._requests.values()) == {*self.running, *self.waiting}, "a request is lost"
        for r in self.running:
            assert r.computed < len(r.tokens), f"{r.id} has nothing left to compute"
            assert r.computed <= len(r.blocks) * size, f"{r.id} computed beyond its blocks"
            assert r.named <= len(r.blocks), f"{r.id} named more than it holds"

    def _refusal(self, request: Request) -> Refusal | None:
        """The first rule that a request breaks."""
        bounds, prompt, ending = self.bounds, request.prompt, request.ending
        invalid = RefusalCode.INVALID
        if request.id in self._requests:
            return Refusal(invalid, f"request {request.id} is there already")
        if not prompt:
            return Refusal(invalid, "the prompt is empty")
        if min(prompt) < 0 or max(prompt) >= bounds.vocabulary:
            return Refusal(invalid, f"token ids must lie in 0 to {bounds.vocabulary - 1}")
        if len(prompt) > bounds.input_len:
            return Refusal(
                invalid, f"the prompt has {len(prompt)} tokens; the limit is {bounds.input_len}"
            )
        if ending.max_tokens < 1 or len(prompt) + ending.max_tokens > bounds.sequence_len:
            return Refusal(
                invalid,
                f"{len(prompt)} prompt tokens and {ending.max_tokens} to come; "
                f"a sequence has at most {bounds.sequence_len}",
            )
        if len(self.waiting) >= bounds.queue:
            return Refusal(
                RefusalCode.QUEUE_FULL, f"{len(self.waiting)} requests are waiting; try again later"
            )
        return None

    def _admit(self) -> None:
        """Move waiting requests to the running ones, in order, while they fit."""
        while self.waiting and len(self.running) < self.bounds.requests:
            request = self.waiting[0]
            hits = self._prefixes.match(request) if self._prefixes is not None else []
            new = self._blocks_for(request) - len(hits)
            revived = sum(self.pool.is_idle(block) for block in hits)
            if new + revived > self.pool.available - self._promised:
                return
            for block in hits:
                self.pool.share(block)
            request.blocks = hits
            request.named = len(hits)
            request.computed = len(hits) * self.bounds.tokens_per_block
            self.hit_tokens += request.computed
            self._promised += new
            self.running.append(self.waiting.popleft())

    def _chunk(self, request: Request, count: int) -> Chunk:
        """The request's next tokens, with blocks taken for them."""
        start, end = request.computed, request.computed + count
        while len(request.blocks) * self.bounds.tokens_per_block < end:
            request.blocks.append(self.pool.take())
            self._promised -= 1
        ending = request.ending
        early = request.produced < ending.min_tokens
        draw = Draw(request.sampling, request.produced, ending.stop_ids if early else frozenset())
        return Chunk(
            request=request.id,
            tokens=tuple(request.tokens[start:end]),
            start=start,
            blocks=tuple(request.blocks),
            draw=draw if end == len(request.tokens) else None,
        )

    def _append(self, request: Request, token: int) -> Produced:
        """Add a drawn token to its answer; a finished request leaves at once."""
        position = request.produced
        request.tokens.append(token)
        finish = None
        if token in request.ending.stop_ids:
            finish = FinishReason.STOP
        elif request.produced == request.ending.max_tokens:
            finish = FinishReason.LENGTH
        if finish is not None:
            self._finish(request)
        return Produced(request.id, token, position, finish)

    def _finish(self, request: Request) -> None:
        """Give a running request's blocks back, last first: a prefix is worth most at its head."""
        self.running.remove(request)
        del self._requests[request.id]
        self._promised -= self._blocks_for(request) - len(request.blocks)
        for block in reversed(request.blocks):
            self.pool.release(block)

    def _blocks_for(self, request: Request) -> int:
        return -(-request.longest // self.bounds.tokens_per_block)


def _left(request: Request) -> int:
    """How many of its tokens are not in the cache yet."""
    return len(request.tokens) - request.computed
