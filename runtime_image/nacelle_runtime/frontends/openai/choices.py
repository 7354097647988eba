"""The n answers to one request: they share the prompt's blocks, and each has a seed of its own."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from nacelle_runtime.client import Answer, CoreClient, Generation
from nacelle_runtime.frontends.answer_text import AnswerText, Piece, pieces


class Choices:
    """Answers of one request; choice i draws with the seed + i, so the first is that of n = 1.

    The others are asked for once the first gives text: by then the prompt is in the prefix cache,
    and it is not computed n times.
    """

    def __init__(
        self, core: CoreClient, generation: Generation, n: int, text: Callable[[], AnswerText]
    ) -> None:
        self._core = core
        self._later = [_with_seed(generation, index) for index in range(1, n)]
        self.texts = [text() for _ in range(n)]
        self._answers: list[Answer] = [core.submit(generation)]
        self._tasks: list[asyncio.Task[None]] = []

    def close(self) -> None:
        """Nobody reads on: answers that go on are cancelled."""
        for task in self._tasks:
            task.cancel()
        for answer in self._answers:
            answer.close()

    async def pieces(self) -> AsyncIterator[tuple[int, Piece]]:
        """The pieces of all answers as they come, each with its choice's number."""
        first = pieces(self._answers[0], self.texts[0])
        piece = await anext(first)
        yield 0, piece
        if not self._later:
            async for piece in first:
                yield 0, piece
            return
        arrived: asyncio.Queue[tuple[int, Piece | Exception]] = asyncio.Queue()
        running = 1 + len(self._later)
        if piece.finish is None:
            self._follow(0, first, arrived)
        else:
            running -= 1
        for index, generation in enumerate(self._later, 1):
            self._answers.append(self._core.submit(generation))
            self._follow(index, pieces(self._answers[index], self.texts[index]), arrived)
        while running:
            index, item = await arrived.get()
            if isinstance(item, Exception):
                raise item
            running -= item.finish is not None
            yield index, item

    def _follow(
        self,
        index: int,
        source: AsyncIterator[Piece],
        arrived: asyncio.Queue[tuple[int, Piece | Exception]],
    ) -> None:
        async def pump() -> None:
            try:
                async for piece in source:
                    arrived.put_nowait((index, piece))
            except Exception as error:  # handed to who reads
                arrived.put_nowait((index, error))

        self._tasks.append(asyncio.create_task(pump()))


def _with_seed(generation: Generation, index: int) -> Generation:
    """The request of a later choice; what is told of the prompt, the first one tells."""
    sampling = generation.sampling
    # Philox takes the seed as 64 bits: it wraps as an int64 does.
    seed = (sampling.seed + index + (1 << 63)) % (1 << 64) - (1 << 63)
    return replace(generation, sampling=replace(sampling, seed=seed), prompt_logprobs=None)
