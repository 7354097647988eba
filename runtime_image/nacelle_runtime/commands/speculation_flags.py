"""The flags of speculation, and which of them go together."""

import argparse
from pathlib import Path

from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.speculation.words import Method

# Drafted tokens of an answer in a step, at most; the rule of payoff.py often takes fewer.
TOKENS, _MOST = 4, 16


def configure_speculation(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "--speculation",
        choices=[method.value for method in Method],
        default=Method.NONE.value,
        help="draft tokens out of the request's own text, or by a second engine; answers stay the "
        "same",
    )
    parser.add_argument(
        "--speculative-tokens",
        type=_tokens,
        help=f"drafted tokens of an answer in a step, at most; default: {TOKENS}",
    )
    parser.add_argument(
        "--draft-engine", type=Path, metavar="BUNDLE", help="the engine of --speculation draft"
    )
    parser.add_argument(
        "--synthetic-acceptance",
        type=_probability,
        metavar="P",
        help="for benchmarks with random weights: keep each drafted token with probability P; "
        "answers mean nothing",
    )


def check_speculation(arguments: argparse.Namespace) -> None:
    """Raise InvalidRequest that names the flag which another one does not go with."""
    method = Method(arguments.speculation)
    if method is Method.NONE:
        for flag in ("speculative_tokens", "draft_engine", "synthetic_acceptance"):
            if getattr(arguments, flag) is not None:
                name = f"--{flag.replace('_', '-')}"
                raise InvalidRequest(f"{name}: choose --speculation prompt-lookup or draft too")
    if method is Method.DRAFT and arguments.draft_engine is None:
        raise InvalidRequest("--speculation draft: --draft-engine must name the bundle that drafts")
    if method is Method.PROMPT_LOOKUP and arguments.draft_engine is not None:
        raise InvalidRequest("--draft-engine: only --speculation draft takes one")


def _tokens(text: str) -> int:
    value = int(text)
    if not 1 <= value <= _MOST:
        raise argparse.ArgumentTypeError(f"{value} is not within 1 to {_MOST}")
    return value


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a probability from 0 to 1")
    return value
