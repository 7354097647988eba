"""The table of rotary positions that every program is given."""

import torch

from nacelle_engine.program.signature import Signature


def rope_table(signature: Signature) -> torch.Tensor:
    """float32 [positions, head_dim]: for each position its cosines, then its sines."""
    frequencies = torch.tensor(signature.inverse_frequencies, dtype=torch.float64)
    angles = torch.outer(torch.arange(signature.positions, dtype=torch.float64), frequencies)
    return torch.cat((angles.cos(), angles.sin()), dim=-1).float()
