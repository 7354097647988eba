"""Iteration-level batching: which tokens of which requests the next step runs."""

from collections.abc import Iterable

from nacelle_runtime.batch import Batch, Chunk, Drawn, Produced
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import FinishReason, Refusal, RefusalCode, Request, RequestId
from nacelle_runtime.scheduler.bounds import Bounds, Policy
from nacelle_runtime.scheduler.chunks import chunk, decode
from nacelle_runtime.scheduler.invariants import check
from nacelle_runtime.scheduler.ledger import Ledger
from nacelle_runtime.scheduler.queue import WaitingQueue, standing
from nacelle_runtime.scheduler.refusals import refusal


class Scheduler:
    """The requests that wait and run, and the blocks they hold.

    A step holds one token of every answer that runs, and prompts in order of admission as far as
    the budget of tokens allows. queue.py says who is admitted next, bounds.py under which policy.
    A request put back keeps its answer so far: what is computed again are its K and V, and the next
    token is drawn at the same position, so the answer is the same.
    """

    def __init__(self, bounds: Bounds, pool: BlockPool, prefixes: PrefixCache | None) -> None:
        self.bounds = bounds
        self.pool = pool
        self.waiting = WaitingQueue(bounds.patience)
        self.running: list[Request] = []
        self.preemptions = 0
        self._ledger = Ledger(pool, prefixes, bounds.tokens_per_block, bounds.policy)
        self._requests: dict[RequestId, Request] = {}
        self._places = list(reversed(range(bounds.requests)))
        self._arrivals = 0
        # The answers waited in the last step, for a whole prompt.
        self._held_back = False

    @property
    def idle(self) -> bool:
        """True when no request waits or runs."""
        return not self._requests

    @property
    def requests(self) -> list[RequestId]:
        """The requests that wait or run, in order of arrival."""
        return list(self._requests)

    @property
    def hit_tokens(self) -> int:
        """Prompt tokens that were found in the prefix cache."""
        return self._ledger.hit_tokens

    @property
    def asked_tokens(self) -> int:
        """Prompt tokens of all requests admitted so far."""
        return self._ledger.asked_tokens

    def submit(self, request: Request) -> Refusal | None:
        """Queue a request, or say why not."""
        found = self._refusal(request)
        if found is None:
            request.number = self._arrivals
            self._arrivals += 1
            self._requests[request.id] = request
            self.waiting.add(request)
            self._admit()
        return found

    def cancel(self, requests: Iterable[RequestId]) -> int:
        """Forget requests and free their blocks; gives how many of them there still were."""
        cancelled = 0
        for name in requests:
            request = self._requests.get(name)
            if request is None:
                continue
            cancelled += 1
            if request.reserved:
                self._finish(request)
            else:
                self.waiting.remove(request)
                del self._requests[name]
        return cancelled

    def schedule(self) -> Batch | None:
        """The next step's batch: every answer's next token, then prompts; None when idle."""
        if self.bounds.policy is Policy.GUARANTEED_NO_EVICT or not self._make_room():
            self._admit()
        size = self.bounds.tokens_per_block
        chunks: list[Chunk] = []
        prompts: list[Request] = []
        for request in self.running:
            end = request.computed + 1
            if end != len(request.tokens):
                prompts.append(request)
                continue
            if end > len(request.blocks) * size:
                self._ledger.take(request)
            chunks.append(decode(request))
        if prompts:
            chunks = self._with_prompts(chunks, prompts)
        return Batch(chunks) if chunks else None

    def commit(self, batch: Batch, drawn: Drawn) -> list[Produced]:
        """Take over what a step computed."""
        produced: list[Produced] = []
        for number, part in enumerate(batch.chunks):
            request = self._requests[part.request]
            request.computed = part.start + len(part.tokens)
            self._ledger.store(request)
            if part.score is not None:
                request.scores.extend(drawn.scores[number])
            if part.draw is not None:
                produced.append(self._append(request, drawn, len(produced)))
        return produced

    def check(self) -> None:
        """Check every invariant of requests and blocks; an AssertionError is a bug of ours."""
        check(self.bounds, self._ledger, self._requests, self.running, list(self.waiting))
        assert len(self.waiting) <= self.bounds.queue + self.bounds.requests, "too many wait"

    def _refusal(self, request: Request) -> Refusal | None:
        if request.id in self._requests:
            return Refusal(RefusalCode.INVALID, f"request {request.id} is there already")
        found = refusal(request, self.bounds)
        if found is None and self._ledger.blocks_for(request.longest) > self.pool.total:
            found = Refusal(
                RefusalCode.INVALID,
                f"{request.longest} tokens do not fit the cache's {self.pool.total} blocks",
            )
        if found is None and len(self.waiting) >= self.bounds.queue:
            found = Refusal(
                RefusalCode.QUEUE_FULL, f"{len(self.waiting)} requests are waiting; try again later"
            )
        return found

    def _admit(self) -> None:
        """Move waiting requests to the running ones, in line, while they fit."""
        while self._places and (request := self.waiting.first) is not None:
            if not self._ledger.admit(request, len(self.running)):
                return
            self.waiting.take()
            request.place = self._places.pop()
            self.running.append(request)

    def _make_room(self) -> bool:
        """A block for every answer that needs one now; True when requests were put back for it."""
        size = self.bounds.tokens_per_block
        growing = [
            r
            for r in self.running
            if r.left == 1 and r.computed == len(r.blocks) * size and not self._ledger.owed(r)
        ]
        short = len(growing) > self._ledger.free
        if short:
            # The best first: who is put back had no block taken for nothing.
            growing.sort(key=standing)
        for request in growing:
            while request.reserved and self._ledger.free == 0:
                self._put_back(max(self.running, key=standing))
            if request.reserved:
                self._ledger.take(request)
        return short

    def _with_prompts(self, decodes: list[Chunk], prompts: list[Request]) -> list[Chunk]:
        """The step's chunks with as much of the prompts as it takes."""
        bounds, size = self.bounds, self.bounds.tokens_per_block
        budget = bounds.tokens - len(decodes)
        if bounds.chunked:
            budget = min(budget, bounds.prefill_tokens)
        elif budget < min(prompts[0].left, bounds.tokens) and not self._held_back:
            # A whole prompt does not fit beside the answers: they wait, but never twice on end.
            decodes, budget, self._held_back = [], bounds.tokens, True
        else:
            self._held_back = False
        chunks = decodes
        for request in prompts:
            count = min(budget, request.left)
            if count < (1 if bounds.chunked else min(request.left, bounds.tokens)):
                break
            while len(request.blocks) * size < request.computed + count:
                self._ledger.take(request)
            chunks.append(chunk(request, count))
            budget -= count
        return chunks

    def _append(self, request: Request, drawn: Drawn, number: int) -> Produced:
        """Add the draw's token to its answer; a finished request leaves at once."""
        token, position = drawn.tokens[number], len(request.tokens) - len(request.prompt)
        request.tokens.append(token)
        if request.seen is not None:
            request.seen.answer[token] += 1
        finish = None
        if token in request.ending.stop_ids:
            finish = FinishReason.STOP
        elif position + 1 == request.ending.max_tokens:
            finish = FinishReason.LENGTH
        if finish is not None:
            self._finish(request)
        wanted = request.prompt_logprobs is not None and position == 0
        return Produced(
            request.id,
            token,
            position,
            finish,
            drawn.logprobs.get(number),
            request.scores if wanted else None,
        )

    def _put_back(self, request: Request) -> None:
        """Let a running request wait again."""
        self._stop(request)
        self.waiting.put_back(request)
        self.preemptions += 1

    def _finish(self, request: Request) -> None:
        self._stop(request)
        del self._requests[request.id]

    def _stop(self, request: Request) -> None:
        """Take a request out of the running ones; its blocks and its place are free again."""
        self.running.remove(request)
        self._ledger.give_back(request)
        self._places.append(request.place)
        request.place = -1
