"""`nacelle report`: what a bundle is, how it was built and what it will cost, as one HTML page."""

import argparse
import sys
from pathlib import Path

from nacelle_cli.page.facts import Device, read_facts
from nacelle_cli.page.page import page
from nacelle_engine.errors import InvalidRequest


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("--out", type=Path, help="the page's file; default: standard output")
    parser.add_argument(
        "--memory-gb", type=float, metavar="GB", help="memory of the device it will run on"
    )
    parser.add_argument(
        "--bandwidth-gb-s", type=float, metavar="GB/S", help="how fast that memory is read"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page."""
    found = read_facts(arguments.bundle, Device(arguments.memory_gb, arguments.bandwidth_gb_s))
    _write(page(found), arguments.out)
    return 0


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"--out {out} cannot be written: {error.strerror}") from error
