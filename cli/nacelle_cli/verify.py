"""`nacelle verify`: does a bundle match its digests, and does it run on this machine?"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nacelle_engine.bundle import Bundle, check_target, read_bundle, verify_files
from nacelle_engine.errors import (
    AbiMismatch,
    CorruptBundle,
    InvalidRequest,
    NacelleError,
    StoreUnavailable,
    TargetMismatch,
)
from nacelle_engine.machine import this_machine
from nacelle_engine.result import Failure, Published, Result

_STAGE = "verify"
# What a fact of another value means; the others make it another bundle than the one expected.
_MISMATCHES: Mapping[str, type[NacelleError]] = {
    "architecture": TargetMismatch,
    "abi": AbiMismatch,
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument(
        "--files-only", action="store_true", help="leave this machine's CPU and ABI out of it"
    )
    parser.add_argument(
        "--expect",
        metavar="JSON",
        help="refuse a bundle whose key, architecture, abi, limits, digest or bytes are others",
    )
    parser.add_argument(
        "--result-file", type=Path, help="leave the result as JSON in this file, good or bad"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print one line when all holds; a NacelleError says what does not."""
    try:
        bundle = _verified(arguments)
    except NacelleError as error:
        try:
            _leave(arguments.result_file, Result(failure=Failure.of(error, _STAGE)))
        except StoreUnavailable as untold:
            # What is wrong with the bundle counts; the exit code still tells it.
            print(f"nacelle verify: {untold}", file=sys.stderr)
        raise
    _leave(arguments.result_file, Result(published=_published(bundle)))
    print(f"{bundle.root}: {len(bundle.manifest.files)} files match manifest {bundle.digest[:16]}")
    return 0


def check_expected(bundle: Bundle, expected: Mapping[str, Any]) -> None:
    """Refuse a bundle one of whose facts is another than expected, naming the first of them."""
    facts = _facts(bundle)
    for name, value in expected.items():
        if name not in facts:
            raise InvalidRequest(f"--expect {name} is unknown; known are {', '.join(facts)}")
        if facts[name] != value:
            raise _MISMATCHES.get(name, CorruptBundle)(
                f"{bundle.root}: {name} is {facts[name]}, expected is {value}"
            )


def _verified(arguments: argparse.Namespace) -> Bundle:
    expected = _expected(arguments.expect)
    bundle = read_bundle(arguments.bundle)
    check_expected(bundle, expected)
    verify_files(bundle)
    if not arguments.files_only:
        check_target(bundle, this_machine())
    return bundle


def _expected(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        expected = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"--expect is not JSON: {error}") from error
    if not isinstance(expected, dict):
        raise InvalidRequest('--expect must be a JSON object, such as {"abi": "..."}')
    return expected


def _facts(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "key": manifest.key,
        "architecture": manifest.target.architecture.value,
        "abi": manifest.abi,
        "limits": manifest.limits.model_dump(mode="json", by_alias=True),
        "digest": bundle.digest,
        "bytes": bundle.bytes,
    }


def _published(bundle: Bundle) -> Published:
    return Published(
        engine_key=bundle.manifest.key,
        path=str(bundle.root),
        digest=bundle.digest,
        bytes=bundle.bytes,
        abi=bundle.manifest.abi,
        already_existed=True,
        accuracy=bundle.manifest.accuracy,
    )


def _leave(file: Path | None, result: Result) -> None:
    if file is None:
        return
    try:
        file.write_text(result.message())
    except OSError as error:
        raise StoreUnavailable(
            f"--result-file {file} cannot be written: {error.strerror}"
        ) from error
