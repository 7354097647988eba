"""tensorrt_llm_bls and ensemble: text in, text out."""

from pathlib import Path
from typing import Any

from nacelle_runtime.client import Generation
from nacelle_runtime.frontends.tokenizer import Tokenizer
from nacelle_runtime.frontends.triton.answers import Answering, TextAnswer
from nacelle_runtime.frontends.triton.contract import TEXT_INPUTS, TEXT_OUTPUTS
from nacelle_runtime.frontends.triton.generation import text_generation
from nacelle_runtime.frontends.triton.model import Model
from nacelle_runtime.frontends.triton.repository import TOKENIZER
from nacelle_runtime.frontends.triton.request import TextRequest, parse


class TextModel(Model):
    """Tokenises, and turns an answer's tokens into text as they come.

    It asks the core itself: by way of the token model every token would cost a message more.
    """

    inputs = TEXT_INPUTS
    outputs = TEXT_OUTPUTS

    def open(self, folder: Path) -> None:
        """Read the tokenizer."""
        self._tokenizer = Tokenizer(folder / TOKENIZER)

    def prepare(self, fields: dict[str, Any]) -> tuple[Generation, Answering]:
        """See Model."""
        request = parse(fields, TextRequest)
        end_ids = self.parameters.end_ids
        generation = text_generation(request, self._tokenizer, self.link.ready, end_ids)
        with_input = not self.parameters.excludes_input(request.exclude_input_in_output)
        return generation, TextAnswer(request, self._tokenizer.decode, with_input=with_input)
