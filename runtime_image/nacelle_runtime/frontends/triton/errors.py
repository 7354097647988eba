"""Why a request gets no answer, with the code that Triton gives its client."""

from enum import StrEnum

from nacelle_runtime.request import RefusalCode


class Code(StrEnum):
    """Triton's own codes, by their names there; over HTTP 400, 503, 499 and 500."""

    INVALID_ARG = "INVALID_ARG"
    UNSUPPORTED = "UNSUPPORTED"
    UNAVAILABLE = "UNAVAILABLE"
    CANCELLED = "CANCELLED"
    INTERNAL = "INTERNAL"


class NotAnswered(Exception):
    """A request that ends with an error."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def refused(code: str, message: str) -> NotAnswered:
    """The end of a request that the core did not take in; `code` is a RefusalCode's value."""
    full = code == RefusalCode.QUEUE_FULL
    return NotAnswered(Code.UNAVAILABLE if full else Code.INVALID_ARG, message)
