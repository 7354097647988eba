"""The core's loop: take in what has arrived; launch a step, end one; hand out what came of it."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from nacelle_runtime.connections import Connections
from nacelle_runtime.pipeline import Ended, Pipeline
from nacelle_runtime.request import Refusal, RefusalCode, Request
from nacelle_runtime.request_times import RequestTimes
from nacelle_runtime.runner import InFlight
from nacelle_runtime.scheduler.scheduler import Scheduler
from nacelle_runtime.stats import CoreStats
from nacelle_runtime.structured.compiling import Compiling
from nacelle_runtime.structured.matcher import Matcher
from nacelle_runtime.wire import AskStats, Cancel, Output, Outputs, Ready, Refused, Submit, ToCore

# Seconds without a request until the scheduler's accounts are checked.
_QUIET = 1.0
# Seconds between two looks at grammars that are being compiled, while nothing runs.
_COMPILING = 0.001


@dataclass(frozen=True)
class Loop:
    """The parts of a running core."""

    pipeline: Pipeline[InFlight]
    connections: Connections
    stats: CoreStats
    ready: Ready
    compiling: Compiling
    times: RequestTimes = field(default_factory=RequestTimes)

    @property
    def scheduler(self) -> Scheduler:
        """The requests that wait and run."""
        return self.pipeline.scheduler

    def forever(self) -> None:
        """Serve until the process is told to end."""
        while True:
            self.receive()
            self.step()

    def step(self) -> None:
        """Go on with the engine's steps, when there is anything to run."""
        scheduled = time.monotonic()
        ended = self.pipeline.advance()
        self.times.scheduled(scheduled)
        if ended is not None:
            self.stats.stepped(ended)
            self._hand_out(ended)

    def receive(self) -> None:
        """Take in messages and changes of connections; sleeps when there is nothing to run."""
        idle = self.scheduler.idle and not self.compiling
        received = self.connections.receive(_QUIET if idle else self._pause())
        if idle and not received:
            # It looks at every block of the cache: who comes right after an answer waits for none.
            if __debug__:
                self.scheduler.check()
            received = self.connections.receive(None)
        for connection in received.opened:
            self.connections.send(connection, self.ready)
        for connection, message in received.messages:
            self._take(connection, message)
        for connection in received.closed:
            requests = self.scheduler.requests + self.compiling.requests
            self._cancel([r for r in requests if r[0] == connection])
        if self.compiling:
            for one in self.compiling.take():
                if one.matcher is None:
                    refusal = Refusal(RefusalCode.INVALID, one.refusal)
                    self._refuse(one.connection, one.submit.number, refusal)
                else:
                    self._submit(one.connection, one.submit, one.matcher)

    def _pause(self) -> float:
        return _COMPILING if self.scheduler.idle else 0

    def _take(self, connection: int, message: ToCore) -> None:
        if isinstance(message, Submit):
            if message.grammar is None:
                self._submit(connection, message, None)
            else:
                self.compiling.add(connection, message, message.grammar)
        elif isinstance(message, Cancel):
            self._cancel([(connection, number) for number in message.numbers])
        elif isinstance(message, AskStats):
            self.connections.send(connection, self.stats.snapshot(self.scheduler))

    def _submit(self, connection: int, message: Submit, matcher: Matcher | None) -> None:
        request = Request(
            id=(connection, message.number),
            prompt=message.prompt,
            sampling=message.sampling,
            ending=message.ending,
            salt=message.salt,
            arrived=message.arrived,
            priority=message.priority,
            prompt_logprobs=message.prompt_logprobs,
            matcher=matcher,
        )
        refusal = self.scheduler.submit(request)
        if refusal is None:
            self.stats.submitted(request)
            if message.traced:
                self.times.submitted(request)
        else:
            self._refuse(connection, message.number, refusal)

    def _refuse(self, connection: int, number: int, refusal: Refusal) -> None:
        self.stats.refused()
        answer = Refused(number, refusal.code.value, refusal.message)
        self.connections.send(connection, Outputs([], [answer]))

    def _cancel(self, requests: list[tuple[int, int]]) -> None:
        self.compiling.cancel(requests)
        self.scheduler.cancel(requests)
        self.stats.cancelled(requests)
        self.times.cancelled(requests)

    def _hand_out(self, ended: Ended) -> None:
        """One message for each connection."""
        outputs: dict[int, list[Output]] = defaultdict(list)
        for item in ended.produced:
            connection, number = item.request
            told = (item.logprob, item.prompt_logprobs, self.times.told(item, ended.now))
            outputs[connection].append(Output(number, item.token, item.finish, *told))
        for connection, items in outputs.items():
            self.connections.send(connection, Outputs(items, []))
