"""`nacelle bench backends`: its flags."""

import argparse
from pathlib import Path

from nacelle_bench.settings import Ceilings, Prompts, Settings
from nacelle_bench.table import Table


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("bundle", type=Path, help="a bundle of one backend, for this GPU")
    parser.add_argument("other", type=Path, help="of the other, from the same checkpoint and flags")
    parser.add_argument("--prompt", type=int, default=128, help="prompt tokens a stream")
    parser.add_argument("--tokens", type=int, default=256, help="answer tokens a stream")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of every row")
    parser.add_argument(
        "--prefill",
        action="append",
        default=[],
        metavar="N,LENGTH",
        help="also N prompts of LENGTH tokens, one token out; may be repeated",
    )
    parser.add_argument(
        "--matrix-tflops", type=float, help="the matrix ceiling; default: measured in the run"
    )
    parser.add_argument(
        "--read-gb-s", type=float, help="the memory's ceiling; default: measured in the run"
    )
    parser.add_argument("--out", type=Path, help="also write the JSON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> Table:
    """Compare the two."""
    from nacelle_bench.backends import bench_backends

    settings = Settings(
        prompt=arguments.prompt,
        tokens=arguments.tokens,
        rounds=arguments.rounds,
        prefill=tuple(Prompts.parse(text) for text in arguments.prefill),
        ceilings=Ceilings(arguments.read_gb_s, arguments.matrix_tflops),
    )
    table = bench_backends(arguments.bundle, arguments.other, settings)
    if arguments.out is not None:
        arguments.out.write_text(table.json() + "\n")
    return table
