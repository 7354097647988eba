"""`nacelle bench serve`: its flags."""

import argparse
from pathlib import Path

from nacelle_runtime.commands.engine_flags import configure_engine


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags; those of the engine are those of `nacelle serve`."""
    parser.add_argument(
        "target",
        help="a bundle, over which a core is started; a core's socket; or http://HOST:PORT",
    )
    parser.add_argument("--requests", type=int, default=128, help="requests of each row")
    parser.add_argument(
        "--concurrency",
        type=int,
        nargs="+",
        default=[0],
        help="a row each: requests that are kept running; 0 sends all at once",
    )
    parser.add_argument(
        "--rate", type=float, help="requests a second at random times, instead of --concurrency"
    )
    parser.add_argument("--prompt", type=int, default=128, help="tokens of each prompt")
    parser.add_argument("--answer", type=int, default=128, help="tokens of each answer")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--top-k", type=int, default=0)
    parser.add_argument("--warm-up", type=int, default=8, help="requests before each row")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of prompts, times and draws; over HTTP another for each run, or prefixes are known",
    )
    parser.add_argument("--first-ms", type=float, help="goodput: the first token comes within it")
    parser.add_argument(
        "--between-ms", type=float, help="goodput: the others come within it, on average"
    )
    parser.add_argument(
        "--hf",
        type=Path,
        help="CPU: the model's checkpoint: transformers' generate() answers the same loads after",
    )
    parser.add_argument("--model", help="HTTP: the model's name")
    parser.add_argument(
        "--vocabulary", type=int, default=1000, help="HTTP: the prompts' ids lie below it"
    )
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    configure_engine(parser)
