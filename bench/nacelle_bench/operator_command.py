"""`nacelle bench operator`: its flags."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument(
        "--kubeconfig",
        type=Path,
        required=True,
        help="a cluster with the definitions in crds/, on which no operator runs",
    )
    parser.add_argument(
        "--kwok", default="kwok", help="the program that plays the nodes; default: found by PATH"
    )
    parser.add_argument("--builds", type=int, default=1000, help="EngineBuilds, each served")
    parser.add_argument("--nodes", type=int, default=500, help="fake nodes of eight GPUs")
    parser.add_argument("--namespaces", type=int, default=1, help="that they are spread over")
    parser.add_argument("--singles", type=int, default=20, help="then more, one at a time")
    parser.add_argument("--idle-seconds", type=float, default=60.0, help="how long nothing happens")
    parser.add_argument("--out", type=Path, help="also write the JSON, with every percentile")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
