"""A request's share of a step."""

from collections import Counter
from collections.abc import Sequence

from nacelle_runtime.batch import Chunk, Draw, Score
from nacelle_runtime.request import Request, Seen

_NONE: frozenset[int] = frozenset()
# Stands in for the id of a token that a step in flight draws.
_UNKNOWN = (0,)


def decode(request: Request) -> Chunk:
    """The last token of an answer that goes on, and a draw: what most chunks are."""
    sampling, ending, tokens = request.sampling, request.ending, request.tokens
    awaited = request.awaited
    position = len(tokens) - len(request.prompt) + awaited
    if position < ending.min_tokens or sampling.bad_words or request.unscored:
        return chunk(request, 1)
    draws = (Draw(sampling, position, _NONE, request.seen, request.matcher),)
    start, place, blocks = request.planned, request.place, request.blocks
    if awaited:
        return Chunk(request.id, place, _UNKNOWN, start, blocks, draws, None, request.draw)
    return Chunk(request.id, place, tokens[-1:], start, blocks, draws, None)


def verify(request: Request, drafted: Sequence[int]) -> Chunk:
    """The last token of an answer, all of which is known, and guesses of how it goes on.

    Each draw is made as if the guesses before it were the answer.
    """
    return Chunk(
        request.id,
        request.place,
        [request.tokens[-1], *drafted],
        request.planned,
        request.blocks,
        tuple(_draw(request, drafted[:count]) for count in range(len(drafted) + 1)),
    )


def chunk(request: Request, count: int) -> Chunk:
    """The request's next tokens, whose blocks are there; a draw when they are its last."""
    start, tokens = request.planned, request.tokens
    end = start + count
    unknown = start == len(tokens)
    return Chunk(
        request.id,
        request.place,
        _UNKNOWN if unknown else tokens[start:end],
        start,
        request.blocks,
        (_draw(request, ()),) if end == len(tokens) + request.awaited else (),
        _score(request, end) if request.unscored else None,
        request.draw if unknown else None,
    )


def _draw(request: Request, drafted: Sequence[int]) -> Draw:
    """The draw after the answer so far and some guesses."""
    sampling, ending = request.sampling, request.ending
    position = request.produced + request.awaited + len(drafted)
    banned = ending.stop_ids if position < ending.min_tokens else _NONE
    if sampling.bad_words:
        banned = banned.union(_word_ends(request, drafted))
    return Draw(sampling, position, banned, _seen(request, drafted), request.matcher)


def _seen(request: Request, drafted: Sequence[int]) -> Seen | None:
    seen = request.seen
    if seen is None or not drafted:
        return seen
    return Seen(seen.prompt, seen.answer + Counter(drafted))


def _word_ends(request: Request, drafted: Sequence[int]) -> set[int]:
    """The ids that would complete a bad word; only the answer counts, not the prompt before it."""
    tokens = [*request.tokens, *drafted] if drafted else request.tokens
    produced = request.produced + len(drafted)
    return {
        word[-1]
        for word in request.sampling.bad_words
        if len(word) - 1 <= produced and tuple(tokens[len(tokens) - len(word) + 1 :]) == word[:-1]
    }


def _score(request: Request, end: int) -> Score | None:
    """The prompt's tokens whose log-probabilities the chunk up to `end` gives for the first time.

    Position p gives those of token p + 1; scores[0] is token 1's.
    """
    first = max(len(request.scores), request.planned)
    targets = request.prompt[first + 1 : end + 1]
    if not targets or request.prompt_logprobs is None:
        return None
    return Score(first - request.planned, tuple(targets), request.prompt_logprobs)
