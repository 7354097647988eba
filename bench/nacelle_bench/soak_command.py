"""`nacelle bench soak`: its flags."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("bundle", type=Path, help="a bundle, over which a server is started")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long clients ask")
    parser.add_argument("--clients", type=int, default=16, help="clients that ask beside others")
    parser.add_argument("--rate", type=float, default=8.0, help="requests a second, of all clients")
    parser.add_argument("--threads", type=int, default=1, help="threads of the core")
    parser.add_argument(
        "--kv-cache-blocks",
        type=int,
        help="blocks of the server's KV cache; a large one grows until all were used once",
    )
    parser.add_argument("--out", type=Path, help="also write the JSON, with every sample")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
