"""What a scheduler keeps to: the policy, and the sizes of steps, requests and the queue."""

from dataclasses import dataclass
from enum import StrEnum


class Policy(StrEnum):
    """When a waiting request may run.

    GUARANTEED_NO_EVICT: blocks for the longest answer it can give are available, so a request that
    runs is never put back.
    MAX_UTILIZATION: blocks for the tokens it has now are available. When blocks run out, running
    requests are put back and computed again later.
    """

    GUARANTEED_NO_EVICT = "GUARANTEED_NO_EVICT"
    MAX_UTILIZATION = "MAX_UTILIZATION"


@dataclass(frozen=True)
class Bounds:
    """What a step and a request may hold.

    prefill_tokens  the prompts' share of a step, when they are chunked
    chunked         whether a prompt may be split over steps; if not, a prompt that is no longer
                    than `tokens` runs whole, and for one step the answers wait when it does not
                    fit beside them
    patience        how many later arrivals may be admitted while a request waits
    """

    requests: int
    tokens: int
    prefill_tokens: int
    input_len: int
    sequence_len: int
    vocabulary: int
    queue: int
    tokens_per_block: int = 32
    policy: Policy = Policy.GUARANTEED_NO_EVICT
    chunked: bool = True
    patience: int = 64
