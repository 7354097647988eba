"""The ranges of tokens a step that TensorRT tunes a plan for: its optimization profiles."""

from itertools import pairwise
from typing import Final

from nacelle_builder.compile.tensorrt.network import Network
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.frozen import Frozen

# One token, small and large batches, the largest step in a CUDA graph, prompts.
_ENDS: Final = (1, 16, 64, 256, 2048)
# Elements of one tensor, as TensorRT counts them.
_MOST_ELEMENTS: Final = 2**31 - 1


class Profile(Frozen):
    """Steps of first to last tokens; kernels are chosen for `best` tokens."""

    first: int
    last: int
    best: int


def profiles(networks: tuple[Network, ...], max_num_tokens: int) -> tuple[Profile, ...]:
    """Ranges without a gap from 1 to `max_num_tokens`.

    InvalidRequest where a tensor of the largest step would have more elements than TensorRT counts.
    """
    widest = max(
        tensor.shape[1]
        for network in networks
        for tensor in (*network.inputs, *(node.out for node in network.nodes))
        if tensor.shape[0] == "T"
    )
    most = _MOST_ELEMENTS // widest
    if max_num_tokens > most:
        raise InvalidRequest(
            f"limits.maxNumTokens {max_num_tokens} is above what TensorRT's profiles take of this "
            f"model: a step's widest tensor has {widest} numbers a token, and a tensor at most "
            f"{_MOST_ELEMENTS}; use at most {most}, or backend native"
        )
    ends = [end for end in _ENDS if end < max_num_tokens] + [max_num_tokens]
    return tuple(
        Profile(first=before + 1, last=end, best=end) for before, end in pairwise([0, *ends])
    )
