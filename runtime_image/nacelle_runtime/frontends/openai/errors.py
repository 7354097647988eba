"""Errors in OpenAI's form: {"error": {"message", "type", "param", "code"}}."""

from typing import Any

import msgspec
from starlette.responses import Response

from nacelle_runtime.request import RefusalCode

_TYPES = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error"}


class ApiError(Exception):
    """An answer that is an error; `param` names the field, `code` is for programs."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """The error as a client gets it, in an answer or amid a stream."""
        default = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = _TYPES.get(self.status, default)
        inner = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": inner}

    def response(self) -> Response:
        """The error as an answer; where trying again helps, it says when."""
        headers = {"Retry-After": "1"} if self.status in (429, 503) else None
        return json_response(self.body(), self.status, headers)


def refused(code: str, message: str) -> ApiError:
    """The answer to a request that the core did not take in; `code` is a RefusalCode's value."""
    if code == RefusalCode.QUEUE_FULL:
        return ApiError(429, message, code="queue_full")
    return ApiError(400, message)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")
