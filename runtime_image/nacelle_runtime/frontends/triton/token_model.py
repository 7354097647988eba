"""tensorrt_llm: token ids in, token ids out. It also tells the core's figures to Triton."""

from pathlib import Path
from typing import Any

from nacelle_runtime.client import Generation
from nacelle_runtime.frontends.triton.answers import Answering, TokenAnswer
from nacelle_runtime.frontends.triton.contract import TOKEN_INPUTS, TOKEN_OUTPUTS
from nacelle_runtime.frontends.triton.generation import token_generation
from nacelle_runtime.frontends.triton.metrics import publish
from nacelle_runtime.frontends.triton.model import Model
from nacelle_runtime.frontends.triton.request import TokenRequest, parse
from nacelle_runtime.frontends.triton.running import Client


class TokenModel(Model):
    """Hands ids to the core and back."""

    inputs = TOKEN_INPUTS
    outputs = TOKEN_OUTPUTS

    def open(self, folder: Path) -> None:
        """Begin telling the figures."""
        self.link.start(publish(self.link, self.parameters.model_name))

    def prepare(self, fields: dict[str, Any]) -> tuple[Generation, Answering]:
        """See Model."""
        request = parse(fields, TokenRequest)
        with_input = not self.parameters.excludes_input(request.exclude_input_in_output)
        generation = token_generation(request, self.parameters.end_ids)
        return generation, TokenAnswer(request, with_input=with_input)

    def take(self, client: Client, fields: dict[str, Any]) -> None:
        """A request with `stop` ends those with its id that run; others are answered."""
        if fields.get("stop"):
            self.link.start(self._stop(client))
        else:
            super().take(client, fields)

    async def _stop(self, client: Client) -> None:
        for running in self.running:
            if running.client.request_id == client.request_id:
                running.stop()
        client.end()
