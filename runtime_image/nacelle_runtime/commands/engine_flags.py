"""The flags of an engine's use; they mirror InferenceDeployment's runtime."""

import argparse
from collections.abc import Callable

from nacelle_runtime.commands.speculation_flags import configure_speculation
from nacelle_runtime.scheduler.bounds import Policy


def configure_engine(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the engine's use."""
    parser.add_argument(
        "--max-batch-size", type=at_least(1), help="requests a step; default: the engine's limit"
    )
    parser.add_argument(
        "--kv-cache-free-memory-percent",
        type=_percent,
        default=90,
        help="the KV cache's share of the memory that is free once the weights are loaded",
    )
    parser.add_argument(
        "--kv-cache-blocks", type=at_least(2), help="the KV cache in blocks of 32 tokens instead"
    )
    parser.add_argument(
        "--scheduler-policy",
        choices=[policy.value for policy in Policy],
        default=Policy.GUARANTEED_NO_EVICT.value,
        help="whether a request starts only when its longest answer fits the KV cache",
    )
    parser.add_argument("--no-prefix-caching", action="store_true")
    parser.add_argument(
        "--no-chunked-prefill",
        action="store_true",
        help="run every prompt whole; none may then be longer than a step of the engine",
    )
    parser.add_argument(
        "--chunked-prefill-tokens",
        type=at_least(1),
        help="prompt tokens a step, so that long prompts do not hold up running answers; more give "
        "more tokens a second; default: 2048 on a GPU, 512 on a CPU",
    )
    parser.add_argument(
        "--queue-limit", type=at_least(1), default=256, help="requests that may wait; more get 429"
    )
    parser.add_argument(
        "--steps-in-flight",
        type=int,
        choices=(1, 2),
        help="2: a step is prepared while the one before runs; default: 2 on a GPU, 1 on a CPU",
    )
    configure_speculation(parser)
    parser.add_argument(
        "--threads", type=at_least(1), help="default: the processors this process may use"
    )


def at_least(least: int) -> Callable[[str], int]:
    """The type of a flag whose number is not below that."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is below {least}")
        return value

    return number


def _percent(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{value} is not a percentage from 1 to 100")
    return value
