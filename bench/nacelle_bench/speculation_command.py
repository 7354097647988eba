"""`nacelle bench speculation`: its flags."""

import argparse
from pathlib import Path

from nacelle_runtime.commands.engine_flags import at_least
from nacelle_runtime.commands.speculation_flags import configure_speculation
from nacelle_runtime.speculation.words import Method


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags; those of speculation are those of `nacelle serve`."""
    parser.add_argument("bundle", type=Path, help="a sealed bundle of a chat model")
    configure_speculation(parser)
    parser.set_defaults(speculation=Method.PROMPT_LOOKUP.value)
    parser.add_argument("--threads", type=at_least(1), help="default: all processors")
    parser.add_argument(
        "--streams", type=at_least(1), nargs="+", default=[1, 4], help="answers at once, rows each"
    )
    parser.add_argument("--tokens", type=at_least(2), default=128, help="an answer's, at most")
    parser.add_argument("--rounds", type=at_least(1), default=3, help="interleaved runs of a row")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
