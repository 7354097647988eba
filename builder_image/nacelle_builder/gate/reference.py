"""The eager reference: transformers' own model in float32, sharing no code with the programs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch

from nacelle_builder.convert.checkpoint import CheckpointReader
from nacelle_builder.convert.gather import rows_of, scatter
from nacelle_builder.convert.quantize import dequantize, quantize_per_channel
from nacelle_builder.eager_model import load_eager
from nacelle_engine.model.checkpoint import checkpoint_tensors
from nacelle_engine.model.source import Source
from nacelle_engine.model.spec import ModelSpec

_CPU = torch.device("cpu")


class Reference:
    """A model in float32 that gives the logits of every token of a batch of sequences."""

    def __init__(self, model: Any, device: torch.device = _CPU) -> None:
        self._model = model.eval().to(device)
        self._device = device

    @classmethod
    def load(cls, folder: Path, device: torch.device = _CPU) -> Self:
        """The model of a checkpoint's folder."""
        return cls(load_eager(folder, torch.float32), device)

    @torch.inference_mode()
    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """float32 [sequences, tokens, vocab] of int64 [sequences, tokens], on the device."""
        logits: torch.Tensor = self._model(input_ids=ids.to(self._device), use_cache=False).logits
        return logits

    @contextmanager
    def per_token_activations(self) -> Iterator[None]:
        """Within it, every linear but the head takes its input as E4M3 with one scale a token."""
        linears = [
            module
            for name, module in self._model.named_modules()
            if isinstance(module, torch.nn.Linear) and name != "lm_head"
        ]
        hooks = [linear.register_forward_pre_hook(_quantise_input) for linear in linears]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

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


def _quantise_input(_linear: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[torch.Tensor]:
    (x,) = inputs
    # One scale a row: a token here, an output channel there.
    quantised = quantize_per_channel(x.reshape(-1, x.shape[-1]))
    values = dequantize(quantised.weight, quantised.per_channel_scale)
    return (values.to(x.dtype).view_as(x),)
