"""What the two models share: Triton's calls, the requests that run, and their cancellation."""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from nacelle_runtime.client import Generation
from nacelle_runtime.frontends.triton.answers import Answering
from nacelle_runtime.frontends.triton.contract import Tensor
from nacelle_runtime.frontends.triton.errors import NotAnswered
from nacelle_runtime.frontends.triton.link import CoreLink
from nacelle_runtime.frontends.triton.parameters import Parameters
from nacelle_runtime.frontends.triton.running import Client, Running
from nacelle_runtime.frontends.triton.tensors import TritonClient, read


class Model(ABC):
    """A model of the Python backend whose answers come from the core, each in its own time."""

    inputs: ClassVar[tuple[Tensor, ...]]
    outputs: ClassVar[tuple[Tensor, ...]]

    def initialize(self, args: Mapping[str, str]) -> None:
        """Connect to the core; the model is loaded once the core can serve."""
        self.parameters = Parameters.read(json.loads(args["model_config"]))
        self.running: set[Running] = set()
        self.link = CoreLink(self.parameters.core_socket, self.parameters.engine_key)
        self.link.wait(self.parameters.core_wait_seconds)
        self.link.start(self._watch())
        self.open(Path(args["model_repository"]) / args["model_version"])

    def execute(self, requests: Sequence[Any]) -> None:
        """Take requests in; Triton calls again at once, answers come through their senders."""
        for request in requests:
            client = TritonClient(request, self.outputs)
            try:
                self.take(client, read(request, self.inputs))
            except NotAnswered as problem:
                client.fail(problem)

    def finalize(self) -> None:
        """End what runs, and the connection."""
        self.link.close()

    @abstractmethod
    def open(self, folder: Path) -> None:
        """Make ready from the model's own folder, once the core is there."""

    @abstractmethod
    def prepare(self, fields: dict[str, Any]) -> tuple[Generation, Answering]:
        """What a request asks of the core, and what makes responses; NotAnswered says why not."""

    def take(self, client: Client, fields: dict[str, Any]) -> None:
        """Start answering a request."""
        running = Running(client, *self.prepare(fields))
        self.link.start(self._run(running))

    async def _run(self, running: Running) -> None:
        self.running.add(running)
        try:
            await running.run(self.link)
        finally:
            self.running.discard(running)

    async def _watch(self) -> None:
        """Triton tells of cancelled requests only when asked."""
        while True:
            await asyncio.sleep(self.parameters.cancellation_check_period_ms / 1000)
            for running in list(self.running):
                if running.client.gone:
                    running.leave()
