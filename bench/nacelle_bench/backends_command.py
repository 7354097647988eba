"""`nacelle bench backends`: its flags."""

import argparse
from pathlib import Path

from nacelle_bench.engine_command import add_steps, steps
from nacelle_bench.table import Table


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("bundle", type=Path, help="a bundle of one backend, for this GPU")
    parser.add_argument("other", type=Path, help="of the other, from the same checkpoint and flags")
    add_steps(parser, prompt=128, tokens=256, rounds=2)
    parser.add_argument("--out", type=Path, help="also write the JSON")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> Table:
    """Compare the two."""
    from nacelle_bench.backends import bench_backends

    table = bench_backends(arguments.bundle, arguments.other, steps(arguments))
    if arguments.out is not None:
        arguments.out.write_text(table.json() + "\n")
    return table
