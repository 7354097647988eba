"""`nacelle triton`: a bundle's model repository for a Triton server beside `nacelle serve`."""

import argparse
from pathlib import Path

from nacelle_engine.bundle import read_bundle
from nacelle_runtime.frontends.triton.repository import Repository


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("repository", type=Path, help="the folder to write, new or empty")
    parser.add_argument(
        "--core-socket",
        type=Path,
        required=True,
        help="serve's --core-socket, as the Triton server sees it",
    )
    parser.add_argument(
        "--packages",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="where the server's Python finds nacelle[triton], unless it is installed there",
    )
    parser.add_argument(
        "--exclude-input-in-output",
        action="store_true",
        help="answers in one leave out their prompt, unless a request says otherwise",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the repository; an error of ours ends with its exit code."""
    Repository(
        bundle=read_bundle(arguments.bundle),
        core_socket=str(arguments.core_socket),
        packages=tuple(map(str, arguments.packages)),
        exclude_input_in_output=arguments.exclude_input_in_output,
    ).write(arguments.repository)
    return 0
