"""The eager reference: transformers' own model in float32, sharing no code with the programs."""

from collections.abc import Mapping
from pathlib import Path

import torch

from nacelle_builder.convert.checkpoint import CheckpointReader
from nacelle_builder.convert.gather import rows_of, scatter
from nacelle_builder.eager_model import load_eager
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.source import Source
from nacelle_engine.model.spec import ModelSpec


class Reference:
    """A model in float32 that gives the logits of every token of a batch of sequences."""

    def __init__(self, folder: Path) -> None:
        self._model = load_eager(folder, torch.float32).eval()

    @torch.inference_mode()
    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """float32 [sequences, tokens, vocab] of int64 [sequences, tokens]."""
        logits: torch.Tensor = self._model(input_ids=ids, use_cache=False).logits
        return logits

    @torch.no_grad()
    def take_weights(
        self,
        spec: ModelSpec,
        sources: Mapping[str, Source],
        checkpoint: CheckpointReader,
    ) -> None:
        """Replace every weight by what the checkpoint's (fake-quantised) one stands for."""
        parameters = dict(self._model.named_parameters())
        for tensor in checkpoint_tensors(spec):
            source = sources[tensor.name]
            rows = rows_of(spec, tensor, source)
            scatter(source, rows, checkpoint.read(tensor), parameters)
