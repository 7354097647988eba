"""Models of a Hugging Face hub, fetched at one pinned revision."""

import errno
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx2
from huggingface_hub import set_client_factory, snapshot_download
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from nacelle_builder.settings import HubAccess
from nacelle_builder.source.files import PATTERNS
from nacelle_engine.errors import (
    InvalidModel,
    InvalidRequest,
    NacelleError,
    SourceUnavailable,
)

_REFERENCE = re.compile(r"^hf:(?P<repo>[^@\s]+/[^@\s/]+)@(?P<revision>[0-9a-f]{40})$")


@dataclass(frozen=True)
class HubModel:
    """A hub repository at one immutable revision (a commit of 40 hex digits)."""

    repo: str
    revision: str

    @classmethod
    def parse(cls, reference: str) -> Self:
        """The model of "hf:org/name@<40 hex digits>"; InvalidRequest tells the form."""
        match = _REFERENCE.match(reference)
        if match is None:
            raise InvalidRequest(
                f"{reference!r} is no hub model: write hf:org/name@<revision of 40 hex digits>"
            )
        return cls(match["repo"], match["revision"])


def download(model: HubModel, folder: Path, access: HubAccess, timeout: float = 30.0) -> None:
    """Fetch the files that matter into a folder; a second call resumes what was cut off.

    `timeout`: the seconds that one connection or read may take.
    """
    _check_token(access.token or "")
    set_client_factory(lambda: _client(timeout))
    try:
        snapshot_download(
            model.repo,
            revision=model.revision,
            local_dir=folder,
            allow_patterns=list(PATTERNS),
            token=access.token or False,
            endpoint=access.endpoint,
            etag_timeout=timeout,
            max_workers=4,
        )
    except (OSError, ValueError, httpx2.HTTPError) as error:
        if isinstance(error, OSError) and _is_of_the_disk(error):
            raise
        raise _translated(error, model, access) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)


def _check_token(token: str) -> None:
    # Told here, without it: a client that cannot send a token repeats it in its error.
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidRequest("HF_TOKEN holds a blank, a line break or a letter that no token has")


def _is_of_the_disk(error: OSError) -> bool:
    """Whether it is the folder that fails, and not the hub; TLS has an errno of its own, 1."""
    refused = error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO) or (
        refused and error.filename is not None
    )


def _client(timeout: float) -> httpx2.Client:
    return httpx2.Client(follow_redirects=True, timeout=timeout)


def _translated(error: Exception, model: HubModel, access: HubAccess) -> NacelleError:
    """The error of ours that says the same: permanent when asking again cannot help."""
    name = f"{model.repo}@{model.revision[:12]} at {access.endpoint}"
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    if status in (401, 403) or isinstance(cause, GatedRepoError):
        said = "the token in HF_TOKEN was refused" if access.token else "HF_TOKEN is not set"
        return InvalidModel(
            f"{name}: access refused ({status}), {said}: the model does not exist, "
            "or it needs a token whose owner accepted its licence"
        )
    if isinstance(cause, RepositoryNotFoundError):
        return InvalidModel(f"{name}: there is no such repository")
    if isinstance(cause, RevisionNotFoundError):
        return InvalidModel(f"{name}: the repository has no such revision")
    if isinstance(cause, HFValidationError):
        return InvalidRequest(f"{name}: {cause}")
    if status == 404 or isinstance(cause, FileMetadataError):
        return InvalidModel(f"{name}: a file of the revision cannot be fetched: {cause}")
    return SourceUnavailable(f"{name} did not answer: {cause}")
