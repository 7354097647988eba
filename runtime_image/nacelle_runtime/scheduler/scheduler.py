"""Iteration-level batching: which tokens of which requests the next step runs."""

from collections.abc import Iterable

from nacelle_runtime.batch import Batch, Chunk, Drawn, Produced
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.prefix_cache import PrefixCache
from nacelle_runtime.request import Refusal, RefusalCode, Request, RequestId
from nacelle_runtime.scheduler.admission import Admission
from nacelle_runtime.scheduler.answers import Answers
from nacelle_runtime.scheduler.bounds import Bounds
from nacelle_runtime.scheduler.chunks import decode, verify
from nacelle_runtime.scheduler.drafting import Drafted, Drafting
from nacelle_runtime.scheduler.flights import Flights
from nacelle_runtime.scheduler.invariants import check
from nacelle_runtime.scheduler.ledger import Ledger
from nacelle_runtime.scheduler.prompts import PromptShare, Share
from nacelle_runtime.scheduler.queue import WaitingQueue
from nacelle_runtime.scheduler.refusals import refusal
from nacelle_runtime.speculation.speculation import Speculation


class Scheduler:
    """The requests that wait and run, and the blocks they hold.

    A step holds one token of every answer that runs, and prompts in order of admission as far as
    the budget of tokens allows. queue.py says who is admitted next, bounds.py under which policy.
    A request put back keeps its answer so far: what is computed again are its K and V, and the next
    token is drawn at the same position, so the answer is the same.

    Steps are scheduled, and committed in that order; one may be scheduled while the one before is
    in flight. A request whose token that one draws goes on by the draw's number, if nothing but the
    token's id is missing. A stop id is seen a step late then: what that step drew for the request
    is dropped.

    With speculation an answer's share is its next token and guesses of how it goes on, and what it
    gets is one token to all of them and one more. It sits a step out while its guesses are in
    flight, for it is not known then where it stands.
    """

    def __init__(
        self,
        bounds: Bounds,
        pool: BlockPool,
        prefixes: PrefixCache | None,
        speculation: Speculation | None = None,
    ) -> None:
        self.bounds = bounds
        self.pool = pool
        self.speculation = speculation
        self._ledger = Ledger(pool, prefixes, bounds.tokens_per_block, bounds.policy)
        self._flights = Flights()
        self._admission = Admission(bounds, self._ledger, self._flights, speculation)
        self._answers = Answers(self._ledger, self._admission, speculation)
        self._drafting: Drafting | None = None
        if speculation is not None:
            self._drafting = Drafting(bounds, self._ledger, speculation)
        self._prompts = PromptShare(bounds, self._ledger)

    @property
    def idle(self) -> bool:
        """True when no request waits or runs, and no step is in flight."""
        return not self._admission.requests and not self._flights

    @property
    def requests(self) -> list[RequestId]:
        """The requests that wait or run, in order of arrival."""
        return list(self._admission.requests)

    @property
    def waiting(self) -> WaitingQueue:
        """The requests that wait."""
        return self._admission.waiting

    @property
    def running(self) -> list[Request]:
        """The requests that steps run, in order of admission."""
        return self._admission.running

    @property
    def preemptions(self) -> int:
        """How often a running request was put back."""
        return self._admission.preemptions

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
            self._admission.arrive(request)
        return found

    def cancel(self, requests: Iterable[RequestId]) -> int:
        """Forget requests and free their blocks; gives how many of them there still were."""
        return self._admission.cancel(requests)

    def schedule(self) -> Batch | None:
        """The next step's batch: every answer's next token, then prompts; it is in flight from now.

        None when there is nothing to run: idle, or until a step in flight has ended.
        """
        if not self._admission.let_in():
            return None
        answers, prompts = self._split()
        drafted = Drafted(answers, {})
        if self._drafting is not None:
            drafted = self._drafting.choose(answers, prompts)
        share = self._decode(drafted)
        if prompts:
            share = self._prompts.beside(share, prompts)
        if not share.chunks:
            return None
        batch = Batch(share.chunks)
        self._flights.launch(batch, share.requests)
        return batch

    def commit(self, batch: Batch, drawn: Drawn) -> list[Produced]:
        """Take over what the oldest step in flight computed; it has ended."""
        flight = self._flights.end(batch)
        produced: list[Produced] = []
        draws = 0
        for number, (part, request) in enumerate(zip(batch.chunks, flight.requests, strict=True)):
            first = draws
            draws += len(part.draws)
            if request.place < 0:
                continue  # it ended while the step was in flight
            if part.score is not None:
                request.scores.extend(drawn.scores[number])
            if part.draws:
                produced += self._answers.append(request, part, drawn, first)
            else:
                self._answers.ran(request, part)
        for blocks in flight.left:
            self._ledger.release(blocks)
        return produced

    def _split(self) -> tuple[list[Request], list[Request]]:
        """The running requests that may go on: answers by their next token, and prompts."""
        answers: list[Request] = []
        prompts: list[Request] = []
        for request in self.running:
            if request.planned + 1 != len(request.tokens) + request.awaited:
                prompts.append(request)
            elif not request.awaited or request.ready:
                answers.append(request)
        return answers, prompts

    def _decode(self, drafted: Drafted) -> Share:
        """The answers' share of a step; blocks for their tokens are there or promised."""
        size, guesses = self.bounds.tokens_per_block, drafted.tokens
        chunks: list[Chunk] = []
        for request in drafted.answers:
            guessed = guesses.get(request.id, ()) if guesses else ()
            while request.planned + 1 + len(guessed) > len(request.blocks) * size:
                self._ledger.take(request)
            chunks.append(verify(request, guessed) if guessed else decode(request))
        return Share(chunks, list(drafted.answers))

    def check(self) -> None:
        """Check every invariant of requests and blocks; an AssertionError is a bug of ours."""
        check(self.bounds, self._ledger, self._flights, self._admission)

    def _refusal(self, request: Request) -> Refusal | None:
        if request.id in self._admission.requests:
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
