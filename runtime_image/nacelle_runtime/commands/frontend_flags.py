"""The flags of `nacelle serve` about clients: what they may take, and what is told of them."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from nacelle_runtime.commands.traces import configure_traces
from nacelle_runtime.logs import LogFormat


def configure_frontend(parser: argparse.ArgumentParser) -> None:
    """The arguments that become FrontendSettings."""
    parser.add_argument(
        "--drain-seconds", type=_drain, default=30.0, help="running answers get so long at the end"
    )
    parser.add_argument("--api-keys-file", type=Path, help="one key a line; default: no key needed")
    parser.add_argument(
        "--tls-certificate",
        type=Path,
        help="serve https: the certificate and its chain, PEM; read again when it changes",
    )
    parser.add_argument("--tls-key", type=Path, help="the certificate's key, PEM")
    parser.add_argument("--max-body-bytes", type=positive(int), default=8 << 20)
    parser.add_argument(
        "--receive-seconds",
        type=positive(float),
        default=60.0,
        help="a client gets so long to send a request's head, and again for its body",
    )
    parser.add_argument(
        "--keep-alive-seconds",
        type=positive(float),
        default=650.0,
        help="a connection between two requests stays open so long: longer than a proxy keeps it",
    )
    parser.add_argument(
        "--read-seconds",
        type=positive(float),
        default=60.0,
        help="a client that takes nothing of its answer for so long is given up",
    )
    parser.add_argument(
        "--step-deadline-seconds",
        type=positive(float),
        default=120.0,
        help="/health/live fails when requests are there and no step ends for so long",
    )
    parser.add_argument("--access-log", action="store_true", help="one line a request")
    parser.add_argument(
        "--log-format", choices=[form.value for form in LogFormat], default=LogFormat.TEXT.value
    )
    configure_traces(parser)


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """The type of a flag whose number is above 0, and has an end."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
        return value

    return number


def _drain(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return value
