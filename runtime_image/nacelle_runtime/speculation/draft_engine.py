"""Drafts by a second, smaller engine of the same tokens, with a KV cache and blocks of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from nacelle_runtime.batch import Batch, Chunk, Draw, Drawn
from nacelle_runtime.kv_blocks import BlockPool
from nacelle_runtime.pipeline import Engine
from nacelle_runtime.request import Request, RequestId, Sampling
from nacelle_runtime.speculation.drafter import Wish
from nacelle_runtime.speculation.payoff import Costs

InFlight = TypeVar("InFlight")
_UNKNOWN = (0,)
_NONE: frozenset[int] = frozenset()


@dataclass
class _Text:
    """What of a request is in the draft engine's cache.

    blocks    held for it; block i holds the tokens from i * 32 on
    tokens    those whose K and V are there
    sure      how many of them are known to be the request's
    sampling  how its drafts are drawn
    """

    sampling: Sampling
    blocks: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    sure: int = 0


class _Drafting(NamedTuple):
    """A request whose text is all there, or will be with the first step."""

    wish: Wish
    text: _Text


class DraftEngine(Generic[InFlight]):
    """One draft step runs what the cache lacks of each text, the next ones a drafted token each.

    Drafts are drawn as the target draws, with its numbers for the same seed and position: where the
    two distributions are the same so are the tokens, greedy or not. Penalties and bad words are
    left out: without them guesses are worse, and answers the same. A text of which much is missing,
    as a new prompt's, is run over several calls, at most `most_tokens` in each, and drafts after
    that; one for which the pool has no blocks has no drafts.

    costs: what its steps take.
    """

    def __init__(
        self,
        engine: Engine[InFlight],
        pool: BlockPool,
        tokens_per_block: int,
        most_tokens: int,
        costs: Costs,
    ) -> None:
        self.pool = pool
        self._engine = engine
        self._size = tokens_per_block
        self._most_tokens = most_tokens
        self._costs = costs
        self._texts: dict[RequestId, _Text] = {}

    def seconds(self, answers: int) -> float:
        """A share of a step that drafts a token for each of them."""
        return self._costs.of(answers) / answers

    def promising(self, request: Request) -> bool:
        """Always: any text can be gone on with."""
        return True

    def forget(self, request: RequestId) -> None:
        """Its blocks are free: no draft step is in flight between two calls."""
        text = self._texts.pop(request, None)
        for block in text.blocks if text is not None else ():
            self.pool.release(block)

    def draft(self, wishes: Sequence[Wish]) -> list[list[int]]:
        """For each wish its tokens; none where the text is not all there yet."""
        chunks: list[Chunk] = []
        drafting: list[_Drafting] = []
        budget = self._most_tokens
        for wish in wishes:
            text = self._text(wish.request)
            part = self._missing(wish, text, budget)
            if part is None:
                continue
            chunks.append(part)
            budget -= len(part.tokens)
            if part.draws:
                drafting.append(_Drafting(wish, text))
        if not chunks:
            return [[] for _ in wishes]
        drafts = self._run(chunks, drafting)
        return [drafts.get(wish.request.id, []) for wish in wishes]

    def _text(self, request: Request) -> _Text:
        """The request's text, without what was drafted and not kept."""
        text = self._texts.get(request.id)
        if text is None:
            # Its log-probabilities are the target's to tell, and penalties take the whole answer.
            plain = Sampling(
                temperature=request.sampling.temperature,
                top_k=request.sampling.top_k,
                top_p=request.sampling.top_p,
                min_p=request.sampling.min_p,
                seed=request.sampling.seed,
                logit_bias=request.sampling.logit_bias,
            )
            text = self._texts[request.id] = _Text(plain)
        # The last token is always run again: a draw needs its logits.
        most = min(len(text.tokens), len(request.tokens) - 1)
        while text.sure < most and text.tokens[text.sure] == request.tokens[text.sure]:
            text.sure += 1
        del text.tokens[text.sure :]
        return text

    def _missing(self, wish: Wish, text: _Text, budget: int) -> Chunk | None:
        """The tokens that the cache lacks, as far as the budget and the blocks go."""
        request, start = wish.request, text.sure
        end = min(len(request.tokens), start + budget)
        whole = end == len(request.tokens)
        if end == start or not self._grow(text, end + (wish.most - 1 if whole else 0)):
            return None
        text.tokens.extend(request.tokens[start:end])
        text.sure = end
        draws = (_draw(request, text, 0),) if whole else ()
        return Chunk(
            request.id, request.place, request.tokens[start:end], start, text.blocks, draws
        )

    def _grow(self, text: _Text, tokens: int) -> bool:
        """Blocks for so many tokens; False when there are too few."""
        more = -(-tokens // self._size) - len(text.blocks)
        if more > self.pool.available:
            return False
        text.blocks.extend(self.pool.take() for _ in range(more))
        return True

    def _run(
        self, chunks: Sequence[Chunk], drafting: Sequence[_Drafting]
    ) -> dict[RequestId, list[int]]:
        """Launch all steps one after another, each by the draws of the one before; then wait."""
        steps: list[InFlight] = []
        drafted: list[Sequence[_Drafting]] = []
        for number in count():
            steps.append(self._engine.launch(Batch(chunks), steps[-1] if steps else None))
            drafted.append(drafting)
            following = [one for one in drafting if one.wish.most > number + 1]
            if not following:
                break
            places = {one.wish.request.id: n for n, one in enumerate(drafting)}
            chunks = [_next(one, number + 1, places[one.wish.request.id]) for one in following]
            drafting = following
        drafts: dict[RequestId, list[int]] = {}
        for step, ones in zip(steps, drafted, strict=True):
            drawn: Drawn = self._engine.collect(step)
            for one, token in zip(ones, drawn.tokens, strict=True):
                drafts.setdefault(one.wish.request.id, []).append(token)
        for one in drafted[0]:
            # The last drafted token was not run.
            one.text.tokens.extend(drafts[one.wish.request.id][:-1])
        return drafts


def _next(one: _Drafting, number: int, draw: int) -> Chunk:
    """A drafted token, which the step before draws, and the draw of the next one."""
    request, text = one.wish.request, one.text
    start = len(request.tokens) + number - 1
    draws = (_draw(request, text, number),)
    return Chunk(request.id, request.place, _UNKNOWN, start, text.blocks, draws, awaits=draw)


def _draw(request: Request, text: _Text, number: int) -> Draw:
    """The draw of a drafted token, at the place in the answer that it is for."""
    position = request.produced + number
    ending = request.ending
    return Draw(text.sampling, position, ending.stop_ids if position < ending.min_tokens else _NONE)
