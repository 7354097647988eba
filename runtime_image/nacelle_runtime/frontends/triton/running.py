"""One request on its way: from the core's tokens to the responses that its client gets."""

import asyncio
import logging
from typing import Protocol

from nacelle_runtime.client import CoreLost, Generation, RequestRefused
from nacelle_runtime.frontends.triton.answers import Answering, Response
from nacelle_runtime.frontends.triton.errors import Code, NotAnswered, refused
from nacelle_runtime.frontends.triton.link import CoreLink


class Client(Protocol):
    """Who asked: the id it gave the request, and where its responses go."""

    request_id: str

    @property
    def gone(self) -> bool:
        """True when it has cancelled its request."""

    def send(self, response: Response) -> None:
        """Give it a response."""

    def fail(self, problem: NotAnswered) -> None:
        """End its request with an error."""

    def end(self) -> None:
        """End its request with nothing more."""


class Running:
    """A request that is being answered, on the link's loop."""

    def __init__(self, client: Client, generation: Generation, answering: Answering) -> None:
        self.client = client
        self._generation = generation
        self._answering = answering
        self._stopped = False
        self._task: asyncio.Task[None] | None = None

    async def run(self, link: CoreLink) -> None:
        """Answer to the end, whichever it is."""
        self._task = asyncio.current_task()
        try:
            await self._answer(link)
        except asyncio.CancelledError:
            if self._stopped:
                self.client.send(self._answering.rest())
            else:
                self.client.fail(NotAnswered(Code.CANCELLED, "the request was cancelled"))
        except NotAnswered as problem:
            self.client.fail(problem)
        except RequestRefused as problem:
            self.client.fail(refused(problem.code, str(problem)))
        except CoreLost as problem:
            self.client.fail(NotAnswered(Code.UNAVAILABLE, str(problem)))
        except Exception as problem:
            logging.getLogger("nacelle").exception("request %r failed", self.client.request_id)
            self.client.fail(NotAnswered(Code.INTERNAL, f"the model failed: {problem!r}"))

    def stop(self) -> None:
        """End the answer here: what there is of it is the whole."""
        self._stopped = True
        self.leave()

    def leave(self) -> None:
        """Nobody waits for the answer any more."""
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, link: CoreLink) -> None:
        answer = link.client.submit(self._generation)
        try:
            while True:
                response = self._answering.add(await answer.read())
                if response is not None:
                    self.client.send(response)
                    if response.final:
                        return
        finally:
            answer.close()
