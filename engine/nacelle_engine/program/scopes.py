"""What the names of each program of a GPU bundle mean: its weights, read into the GPU's memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from nacelle_engine.program.replay import Scope
from nacelle_engine.program.signature import WEIGHTS, ProgramSpec, Signature
from nacelle_engine.program.weights import Stored


@dataclass(frozen=True)
class Scopes:
    """The scopes of embed, of every layer beside its kind's name, and of head."""

    embed: Scope
    layers: tuple[tuple[str, Scope], ...]
    head: Scope

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights; one that several programs take counts once."""
        return _held_bytes([self.embed, *(scope for _, scope in self.layers), self.head])

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights that a step of one token reads: layers and head, one embedding row."""
        # A norm that two layers take is read once more at most: it counts once.
        return _held_bytes([*(scope for _, scope in self.layers), self.head])


def _held_bytes(scopes: list[Scope]) -> int:
    """Bytes of the scopes' weights, each once."""
    tensors = (tensor for scope in scopes for tensor in scope.weights.values())
    return sum({tensor.data_ptr(): tensor.nbytes for tensor in tensors}.values())


def load_scopes(rank: Path, signature: Signature, device: torch.device) -> Scopes:
    """Read a rank's weights file; CorruptBundle names a tensor that is missing or not as said."""
    stored = Stored(rank / WEIGHTS, device)
    made = Scopes(
        Scope(_weights(stored, signature.embed)),
        tuple(_layers(stored, signature)),
        Scope(_weights(stored, signature.head)),
    )
    stored.finish()
    return made


def _layers(stored: Stored, signature: Signature) -> Iterator[tuple[str, Scope]]:
    kinds = {kind.name: kind for kind in signature.kinds}
    last = len(signature.layers) - 1
    for n, layer in enumerate(signature.layers):
        weights = _weights(stored, kinds[layer.program], n, last=n == last)
        yield layer.program, Scope(weights, n, layer.group)


def _weights(
    stored: Stored, program: ProgramSpec, layer: int = 0, *, last: bool = False
) -> dict[str, torch.Tensor]:
    return {spec.name: stored.get(spec, layer, last=last) for spec in program.weights}
