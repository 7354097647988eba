"""A checkpoint tensor and its Hugging Face source tensors: one made of the others, and back."""

from collections.abc import Callable, Mapping, Sequence

import torch

from nacelle_engine.model.checkpoint import CheckpointTensor
from nacelle_engine.model.source import Source
from nacelle_engine.model.spec import ModelSpec


def gather(source: Source, read: Callable[[str], torch.Tensor]) -> torch.Tensor:
    """The checkpoint tensor, in the source's type; float32 where an offset is added."""
    taken = take(source, torch.cat([read(name) for name in source.names]))
    return taken.float() + source.offset if source.offset else taken


def take(source: Source, joined: torch.Tensor) -> torch.Tensor:
    """The source's part of the rows."""
    return joined.chunk(source.parts)[source.part]


def scatter(
    source: Source,
    rows: Sequence[int],
    values: torch.Tensor,
    parameters: Mapping[str, torch.Tensor],
) -> None:
    """Write a checkpoint tensor's float32 values back into the tensors it was made of.

    rows: how many rows of `values` belong to each of the source's tensors.
    """
    parts = torch.split(values - source.offset, list(rows))
    for name, part in zip(source.names, parts, strict=True):
        take(source, parameters[name]).copy_(part)


def rows_of(spec: ModelSpec, tensor: CheckpointTensor, source: Source) -> tuple[int, ...]:
    """The rows of a checkpoint tensor that each source tensor gives: q, k and v, or the one."""
    if len(source.names) == 1:
        return (tensor.shape[0],)
    assert len(source.names) == 3, f"{tensor.name} is joined from {source.names}"
    return (spec.q_size, spec.kv_size, spec.kv_size)
