"""`nacelle model`: fetches a model's checkpoint, or loads a fetched one into a claim."""

import argparse
from pathlib import Path

from nacelle_builder.fetch.demo_model import NAME
from nacelle_builder.fetch.fetch import fetch
from nacelle_builder.fetch.load import load
from nacelle_builder.settings import HubAccess
from nacelle_engine.errors import StoreUnavailable


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetching = verbs.add_parser(
        "fetch",
        help="download a model into a folder",
        description="Reads HF_TOKEN, HF_ENDPOINT and SSL_CERT_FILE from the environment.",
    )
    fetching.add_argument("model", help=f"hf:org/name@<40 hex digits>, or {NAME}")
    fetching.add_argument("folder", type=Path, help="where the checkpoint is to lie")
    loading = verbs.add_parser("load", help="copy a fetched model and verify its digests")
    loading.add_argument("source", type=Path, help="a folder that `nacelle model fetch` made")
    loading.add_argument("folder", type=Path, help="where the checkpoint is to lie")


def run(arguments: argparse.Namespace) -> int:
    """Do it and say in one line where the model lies."""
    try:
        if arguments.verb == "fetch":
            new = fetch(arguments.model, arguments.folder, HubAccess.from_environment())
        else:
            new = load(arguments.source, arguments.folder)
    except OSError as error:
        raise StoreUnavailable(f"{arguments.folder} cannot be made: {error}") from error
    print(f"{arguments.folder}: {'complete' if new else 'was complete already'}, digests verified")
    return 0
