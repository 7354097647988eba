"""The one JSON that a builder or runtime leaves in its pod's termination message."""

import json
from typing import Any, Self

from pydantic import Field

from nacelle_engine.errors import NacelleError
from nacelle_engine.frozen import Frozen

# Kubernetes cuts a termination message at 4,096 bytes.
MAX_BYTES = 4000
# Of them, what a failure's message may take, as JSON spells it.
_MESSAGE_BYTES = 3000
_MESSAGE_LENGTH = 1024


class Accuracy(Frozen):
    """What the gate measured; decimal strings, since the API holds no floats."""

    mean_kl_divergence: str = Field(max_length=32, alias="meanKLDivergence")
    """Mean KL(reference || engine) over the positions."""

    p99_kl_divergence: str = Field(max_length=32, alias="p99KLDivergence")
    """The 99th percentile of KL(reference || engine)."""

    top_one_agreement_percent: str = Field(max_length=32)
    """Positions whose most likely token is the reference's, among those with a clear margin."""

    perplexity_increase_percent: str = Field(max_length=32)
    """How much the perplexity grew over the reference's."""

    positions: int = Field(ge=0)
    """Positions that were measured."""


class Published(Frozen):
    """An engine that a build published, or found published already."""

    engine_key: str = Field(pattern=r"^[0-9a-f]{64}$")
    path: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    abi: str
    already_existed: bool = False
    accuracy: Accuracy | None = None
    stage_seconds: dict[str, int] = {}


class Prepared(Frozen):
    """What a build leaves in its work folder that ended before it published, as it was asked to."""

    until: str = Field(max_length=32)
    """The last stage that ran."""

    stage_seconds: dict[str, int] = {}


class Failure(Frozen):
    """Why a process ended: the error's code, the stage it came from, a sentence for people."""

    code: str
    message: str
    stage: str = ""

    @classmethod
    def of(cls, error: BaseException, stage: str = "") -> Self:
        """The failure of an error; anything that is not ours gets the code InternalError."""
        code = error.code if isinstance(error, NacelleError) else "InternalError"
        message = str(error) if isinstance(error, NacelleError) else repr(error)
        return cls(code=code, message=_cut(message), stage=stage)


def _cut(message: str) -> str:
    """The message's beginning that fits; what is no Unicode (a file's name may be) is escaped."""
    kept = message.encode(errors="backslashreplace").decode()[:_MESSAGE_LENGTH]
    while len(json.dumps(kept, ensure_ascii=False).encode()) > _MESSAGE_BYTES:
        kept = kept[: len(kept) * 9 // 10]
    return kept


class Result(Frozen):
    """Exactly one of published, prepared and failure."""

    published: Published | None = None
    prepared: Prepared | None = None
    failure: Failure | None = None

    def message(self) -> str:
        """The termination message: JSON within Kubernetes' limit."""
        text = self.model_dump_json(by_alias=True, exclude_none=True)
        if len(text.encode()) > MAX_BYTES:
            raise ValueError(
                f"termination message is {len(text.encode())} bytes; at most {MAX_BYTES}"
            )
        return text


def parse_result(message: str) -> Result | None:
    """The result in a termination message; None when it is not one (a lost or foreign text)."""
    try:
        return Result.model_validate_json(message)
    except ValueError:
        return None


def plain(result: Result) -> dict[str, Any]:
    """The result as JSON values, for a status field."""
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)
