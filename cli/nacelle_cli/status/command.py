"""`nacelle status`: what a cluster builds and serves, once or until all is done."""

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from rich.console import Console

from nacelle_cli.status.errors import ClusterUnavailable, StillUnderWay
from nacelle_cli.status.facts import Snapshot
from nacelle_cli.status.read import reader
from nacelle_cli.status.show import Show, as_json, shown

_PAUSE = 1.0
# An API server that restarts is back by then.
_OUTAGE = 60.0


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.epilog = (
        "It reads EngineBuilds and InferenceDeployments of the cluster that KUBECONFIG names. "
        "--watch ends when all is ready, held or failed; with exit code 1 when something failed."
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="only resources of this name")
    parser.add_argument(
        "-n", "--namespace", help="default: the one of the kubeconfig's context, or `default`"
    )
    parser.add_argument("-w", "--watch", action="store_true", help="follow until all is done")
    parser.add_argument(
        "--timeout", type=float, default=7200.0, metavar="SECONDS", help="of --watch; default 7200"
    )
    parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text",
        help="json: one document, with --watch one a line whenever something changed",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Show the namespace; the exit code of a watch tells whether something has failed."""
    source = reader(arguments.namespace, arguments.name)
    with _output(arguments) as show:
        if not arguments.watch:
            show(source.read())
            return 0
        return int(follow(source.read, show, arguments.timeout).has_failed)


def follow(
    read: Callable[[], Snapshot],
    show: Show,
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Snapshot:
    """Show every snapshot until one is at rest, and give it; StillUnderWay after `timeout` s.

    An API server that goes away in the middle is waited for, a minute long.
    """
    start = seen = clock()
    first = True
    while True:
        try:
            snapshot = read()
        except ClusterUnavailable:
            if first or clock() - seen > _OUTAGE:
                raise
        else:
            seen, first = clock(), False
            show(snapshot)
            if snapshot.is_at_rest:
                return snapshot
        if clock() - start > timeout:
            raise StillUnderWay(f"not done after {timeout:.0f} s; --timeout gives it longer")
        sleep(_PAUSE)


def _output(arguments: argparse.Namespace) -> AbstractContextManager[Show]:
    console = Console()
    if arguments.output == "json":
        return as_json(console, one_line=arguments.watch)
    return shown(console)
