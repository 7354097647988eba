"""A Program whose parts run eagerly: the decoder's own modules, not compiled."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from nacelle_builder.compile.cpu.signature import signature_of
from nacelle_engine.model.decoder import Embed, Head, Layer
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program import cpu
from nacelle_engine.program.signature import ProgramSpec
from nacelle_engine.program.weights import DTYPES
from nacelle_engine.recipe import Recipe

_TACTICS = dict.fromkeys(("qkv", "dense", "gate_up", "down"), (1, 0))


class _Part:
    """One module behind the interface of a compiled program."""

    def __init__(self, module: nn.Module, spec: ProgramSpec) -> None:
        self._module = module
        self._names = [one.name for one in (*spec.step, *spec.weights, *spec.state)]

    def run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        found = self._module(**dict(zip(self._names, inputs, strict=True)))
        return list(found) if isinstance(found, tuple) else [found]


def eager_program(monkeypatch, rank: Path, spec: ModelSpec, recipe: Recipe) -> cpu.CpuProgram:
    """The program of a rank's folder that holds kernels.so and weights.safetensors."""
    signature = signature_of(spec, recipe)
    modules: Mapping[str, nn.Module] = {
        "embed": Embed(spec, DTYPES[recipe.quantization.compute_type]),
        "head": Head(spec),
        **{f"layer.{kind.name}": Layer(spec, kind, _TACTICS) for kind in spec.kinds},
    }
    monkeypatch.setattr(cpu, "_open", lambda _, part: _Part(modules[part.name], part))
    return cpu.CpuProgram(rank, signature)
