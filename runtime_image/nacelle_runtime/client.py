"""A frontend's side of the core's socket: requests go in, answers come back token by token."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from nacelle_runtime.request import Ending, Sampling
from nacelle_runtime.wire import (
    AskStats,
    BadFrame,
    Cancel,
    FrameSplitter,
    FromCore,
    Output,
    Outputs,
    Ready,
    Refused,
    Stats,
    Submit,
    ToCore,
    decode_from_core,
    frame,
)

_READ = 1 << 18


class CoreLost(Exception):
    """The core's connection has ended: no answer will come."""


class RequestRefused(Exception):
    """The core did not take a request in; `code` is a RefusalCode's value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Generation:
    """A request as a frontend asks for it: prompt ids, and how the answer is drawn and ends.

    traced: the core tells when it ran.
    """

    prompt: list[int]
    sampling: Sampling
    ending: Ending
    priority: int = 0
    prompt_logprobs: int | None = None
    salt: str = ""
    grammar: str | None = None
    traced: bool = False


class Answer:
    """The tokens of one request as they come; `close` tells the core when nobody waits any more."""

    def __init__(self, client: "CoreClient", number: int) -> None:
        self._client = client
        self._number = number
        # At most max_tokens items: a slow reader holds memory here, and never the core.
        self._items: asyncio.Queue[Output | Refused | None] = asyncio.Queue()
        self._ended = False

    async def read(self) -> list[Output]:
        """The tokens that have come since the last call, at least one."""
        items = [await self._items.get()]
        while not self._items.empty():
            items.append(self._items.get_nowait())
        outputs: list[Output] = []
        for item in items:
            if item is None:
                raise CoreLost("the core has ended")
            if isinstance(item, Refused):
                raise RequestRefused(item.code, item.message)
            outputs.append(item)
        return outputs

    def put(self, item: Output | Refused | None) -> None:
        """Take what the core sent; None when it is gone."""
        self._ended = not isinstance(item, Output) or item.finish is not None
        self._items.put_nowait(item)

    def close(self) -> None:
        """Nobody reads on; an answer that goes on is cancelled."""
        self._client.forget(self._number, running=not self._ended)


class CoreClient:
    """One connection to the core, shared by all requests of a frontend."""

    def __init__(self) -> None:
        self.ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()
        self.quiet = asyncio.Event()
        self.quiet.set()
        self._answers: dict[int, Answer] = {}
        self._next = 0
        self._stats: list[asyncio.Future[Stats]] = []
        self._writer: asyncio.StreamWriter | None = None

    async def run(self, path: str) -> None:
        """Connect and take in what the core sends, until it goes."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(path)
            splitter = FrameSplitter()
            while data := await reader.read(_READ):
                for body in splitter.feed(data):
                    self._take(decode_from_core(body))
        except (OSError, BadFrame, msgspec.MsgspecError):
            pass  # the same as a core that has gone: it cannot be spoken with
        finally:
            self._lose()

    @property
    def serving(self) -> Ready | None:
        """What the core serves, once it is ready and as long as it is there."""
        if self.lost.is_set() or not self.ready.done():
            return None
        return self.ready.result()

    @property
    def running(self) -> int:
        """Answers somebody waits for."""
        return len(self._answers)

    def submit(self, generation: Generation) -> Answer:
        """Hand a request to the core; CoreLost when there is none."""
        if self.serving is None:
            raise CoreLost("the core is not there")
        number = self._next
        self._next += 1
        g = generation
        # It is waited for once it is on its way: what cannot be sent is left by nobody.
        self._send(
            Submit(
                number=number,
                prompt=g.prompt,
                sampling=g.sampling,
                ending=g.ending,
                priority=g.priority,
                prompt_logprobs=g.prompt_logprobs,
                salt=g.salt,
                arrived=time.monotonic(),
                grammar=g.grammar,
                traced=g.traced,
            )
        )
        answer = self._answers[number] = Answer(self, number)
        self.quiet.clear()
        return answer

    def forget(self, number: int, *, running: bool) -> None:
        """Drop an answer; a running one is cancelled in the core."""
        if self._answers.pop(number, None) is not None and running and not self.lost.is_set():
            self._send(Cancel([number]))
        if not self._answers:
            self.quiet.set()

    def abandon(self) -> None:
        """End every answer now, as if the core had gone."""
        for answer in list(self._answers.values()):
            answer.put(None)

    async def stats(self) -> Stats:
        """The core's figures; CoreLost when it is gone."""
        if self.serving is None:
            raise CoreLost("the core is not there")
        future: asyncio.Future[Stats] = asyncio.get_running_loop().create_future()
        self._stats.append(future)
        self._send(AskStats())
        return await future

    def _send(self, message: ToCore) -> None:
        assert self._writer is not None
        self._writer.write(frame(message))

    def _take(self, message: FromCore) -> None:
        if isinstance(message, Outputs):
            self._deliver(message.outputs)
            self._deliver(message.refused)
        elif isinstance(message, Ready):
            self.ready.set_result(message)
        else:
            for future in self._stats:
                if not future.done():
                    future.set_result(message)
            self._stats.clear()

    def _deliver(self, items: Iterable[Output | Refused]) -> None:
        for item in items:
            answer = self._answers.get(item.number)
            if answer is not None:  # cancelled meanwhile
                answer.put(item)

    def _lose(self) -> None:
        self.lost.set()
        self.abandon()
        for future in self._stats:
            if not future.done():
                future.set_exception(CoreLost("the core has ended"))
        self._stats.clear()
        if self._writer is not None:
            self._writer.close()
