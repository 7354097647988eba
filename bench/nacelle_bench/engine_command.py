"""`nacelle bench engine`: its flags, and those that every measurement of a bundle's steps has."""

import argparse
from dataclasses import replace
from pathlib import Path

from nacelle_bench.settings import Ceilings, Mixed, Prompts, Settings
from nacelle_bench.table import Table


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("bundle", type=Path, help="a sealed bundle")
    parser.add_argument(
        "--hf", type=Path, help="CPU: the model's checkpoint, for the peer's generate()"
    )
    parser.add_argument("--threads", type=int, help="threads of both sides; default: all cores")
    parser.add_argument("--streams", type=int, default=8, help="CPU: streams of the batched row")
    add_steps(parser, prompt=32, tokens=64, rounds=5)
    parser.add_argument(
        "--mixed",
        action="append",
        default=[],
        metavar="DECODES,TOKENS",
        help="GPU: also a step of DECODES requests' tokens beside TOKENS of a prompt, as a CUDA "
        "graph and launch by launch; may be repeated",
    )
    parser.add_argument(
        "--start",
        action="store_true",
        help="also two starts from exec to the first token, the page cache cold and warm",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def add_steps(parser: argparse.ArgumentParser, prompt: int, tokens: int, rounds: int) -> None:
    """Add what steps are timed, with these defaults, and beside which ceilings."""
    parser.add_argument("--prompt", type=int, default=prompt, help="prompt tokens a stream")
    parser.add_argument("--tokens", type=int, default=tokens, help="answer tokens a stream")
    parser.add_argument(
        "--rounds", type=int, default=rounds, help="interleaved rounds of every row"
    )
    parser.add_argument(
        "--prefill",
        action="append",
        default=[],
        metavar="N,LENGTH",
        help="GPU: also a row of N prompts of LENGTH tokens, one token out; may be repeated",
    )
    parser.add_argument(
        "--matrix-tflops", type=float, help="GPU: the matrix ceiling; default: measured in the run"
    )
    parser.add_argument(
        "--read-gb-s", type=float, help="GPU: the memory's ceiling; default: measured in the run"
    )


def steps(arguments: argparse.Namespace) -> Settings:
    """The settings of those flags; InvalidRequest names a wrong one."""
    return Settings(
        prompt=arguments.prompt,
        tokens=arguments.tokens,
        rounds=arguments.rounds,
        prefill=tuple(Prompts.parse(text) for text in arguments.prefill),
        ceilings=Ceilings(arguments.read_gb_s, arguments.matrix_tflops),
    )


def run(arguments: argparse.Namespace) -> Table:
    """Measure the bundle."""
    from nacelle_bench.engine import bench_engine

    settings = replace(
        steps(arguments),
        threads=arguments.threads,
        streams=arguments.streams,
        mixed=tuple(Mixed.parse(text) for text in arguments.mixed),
        start=arguments.start,
    )
    return bench_engine(arguments.bundle, arguments.hf, settings)
