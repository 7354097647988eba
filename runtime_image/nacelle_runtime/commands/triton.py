"""`nacelle triton`: a bundle's model repository for a Triton server beside `nacelle serve`."""

import argparse
from pathlib import Path

from nacelle_engine.bundle import read_bundle
from nacelle_engine.errors import NacelleError
from nacelle_runtime.commands.frontend_flags import positive
from nacelle_runtime.frontends.triton.parameters import CORE_WAIT_SECONDS
from nacelle_runtime.frontends.triton.repository import Repository
from nacelle_runtime.settings import termination_log
from nacelle_runtime.termination import leave_failure


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("repository", type=Path, help="the folder to write, new or empty")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="a repository that was written into the folder before goes first",
    )
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
    parser.add_argument(
        "--core-wait-seconds",
        type=positive(float),
        default=CORE_WAIT_SECONDS,
        help="how long the server's start waits for the core to be ready",
    )
    parser.add_argument(
        "--termination-log",
        type=Path,
        help="where a failure is written; default: /dev/termination-log when it exists",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the repository; an error of ours leaves its reason in the termination log."""
    try:
        Repository(
            bundle=read_bundle(arguments.bundle),
            core_socket=str(arguments.core_socket),
            packages=tuple(map(str, arguments.packages)),
            exclude_input_in_output=arguments.exclude_input_in_output,
            core_wait_seconds=arguments.core_wait_seconds,
        ).write(arguments.repository, replace=arguments.replace)
    except NacelleError as error:
        leave_failure(termination_log(arguments.termination_log), error)
        raise
    return 0
