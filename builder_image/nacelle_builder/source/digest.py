"""A model's digest: SHA-256 over the names and digests of the files that matter.

model digest = SHA-256(canonical JSON of {file name: SHA-256 of its bytes}), as 64 hex digits.
"""

import json
from collections.abc import Callable
from pathlib import Path

from nacelle_builder.durable import write_durably
from nacelle_builder.source.files import CheckpointFiles
from nacelle_engine.bundle import file_sha256
from nacelle_engine.canonical import digest
from nacelle_engine.errors import InvalidModel, SourceUnavailable

DigestOf = Callable[[Path], str]


class DigestCache:
    """Digests of files kept by path, size and both times, so none is read twice.

    The modification time alone does not tell files apart: archives and images are often unpacked
    with one fixed time, claims are mounted in one place, and a model's tunes have equal sizes. The
    time of change is the kernel's own, and nobody can set it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._known: dict[str, list[int | str]] = json.loads(path.read_text())
        except (OSError, ValueError):  # absent or cut off: a cache may always start empty
            self._known = {}

    def __call__(self, file: Path) -> str:
        """The SHA-256 of a file's bytes as hex."""
        status = file.stat()
        name = str(file.resolve())
        known = self._known.get(name)
        version = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        if known is not None and known[:-1] == version:
            return str(known[-1])
        sha256 = file_sha256(file)
        self._known[name] = [*version, sha256]
        self._save()
        return sha256

    def _save(self) -> None:
        write_durably(self._path, json.dumps(self._known).encode())


def model_digest(files: CheckpointFiles, digest_of: DigestOf = file_sha256) -> str:
    """The digest over a checkpoint's files; SourceUnavailable when one cannot be read."""
    try:
        return digest({file.name: digest_of(file) for file in files.all()})
    except OSError as error:
        raise SourceUnavailable(f"{error.filename} cannot be read: {error.strerror}") from error


def check_digest(actual: str, declared: str | None, root: Path) -> None:
    """Refuse a model whose digest is not the one that was declared for it."""
    if declared is not None and declared != actual:
        raise InvalidModel(
            f"{root} has digest {actual}, the request declares {declared}: "
            "the claim holds another model"
        )
