"""The tables of rotary positions that every program is given."""

import torch

from nacelle_engine.program.signature import Signature


def rope_tables(signature: Signature) -> list[torch.Tensor]:
    """float32 [positions, rotary_dim] a KV group: a position's cosines, then its sines."""
    positions = torch.arange(signature.positions, dtype=torch.float64)
    tables = []
    for frequencies in signature.inverse_frequencies:
        angles = torch.outer(positions, torch.tensor(frequencies, dtype=torch.float64))
        tables.append(torch.cat((angles.cos(), angles.sin()), dim=-1).float())
    return tables
