"""The eager reference: transformers' own model in float32, sharing no code with the programs."""

from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, Self

import torch

from nacelle_builder.convert.checkpoint import CheckpointReader
from nacelle_builder.convert.gather import rows_of, scatter
from nacelle_builder.eager_model import load_eager
from nacelle_builder.gate.fake_quantise import (
    AS_COMPUTED,
    Rounding,
    Stretch,
    rounded_cache,
    rounded_inputs,
)
from nacelle_builder.gate.rounded_queries import rounded_queries
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.source import Source
from nacelle_engine.model.spec import ModelSpec

_CPU = torch.device("cpu")


class Reference:
    """A model in float32 that gives the logits of every token of a batch of sequences."""

    def __init__(self, model: Any, device: torch.device = _CPU) -> None:
        self._model = model.eval().to(device)
        self._device = device
        self._rounding = AS_COMPUTED

    @classmethod
    def load(cls, folder: Path, device: torch.device = _CPU) -> Self:
        """The model of a checkpoint's folder."""
        return cls(load_eager(folder, torch.float32), device)

    def rounded(self, rounding: Rounding) -> Self:
        """The same model, whose activations are rounded as by a program that quantises them."""
        other = copy(self)
        other._rounding = rounding
        return other

    def computed_in(self, dtype: torch.dtype) -> Self:
        """A copy of the model that computes in another type, weights included."""
        other = copy(self)
        other._model = deepcopy(self._model).to(dtype)
        return other

    @torch.inference_mode()
    def logits(self, ids: torch.Tensor, stretches: Sequence[Stretch] | None = None) -> torch.Tensor:
        """float32 [sequences, tokens, vocab] of int64 [sequences, tokens], on the device.

        stretches: how the sequences' tokens are rounded, when not all are rounded alike.
        """
        if stretches is None:
            stretches = (Stretch(ids.shape[1], self._rounding),)
        # What the cache is rounded with is the same in every numerics class.
        cache = rounded_cache(self._model, stretches[0].rounding)
        with rounded_inputs(self._model, stretches), rounded_queries(self._model, stretches):
            out = self._model(
                input_ids=ids.to(self._device),
                use_cache=cache is not None,
                past_key_values=cache,
            )
        logits: torch.Tensor = out.logits.float()
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
