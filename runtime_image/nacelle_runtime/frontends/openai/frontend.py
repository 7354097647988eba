"""What the handlers of the OpenAI API share: the model, the core, and who may ask when."""

import asyncio
from dataclasses import dataclass, field

from starlette.requests import Request

from nacelle_runtime.client import CoreClient
from nacelle_runtime.frontends.openai.api_keys import ApiKeys
from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.frontends.openai.prompts import Model
from nacelle_runtime.frontends.openai.story import Traces
from nacelle_runtime.frontends.watchdog import Watchdog
from nacelle_runtime.wire import Ready


@dataclass(frozen=True)
class ClientBounds:
    """What one client may take: a body's bytes, the seconds to send it, to read from an answer."""

    body_bytes: int
    receive_seconds: float
    read_seconds: float


@dataclass(frozen=True)
class Frontend:
    """One frontend process; `draining` turns new requests away while running ones finish.

    leaving: before that, requests are still taken, but each answer is the last of its connection.
    traces: where its requests become spans; None: nowhere.
    """

    model: Model
    core: CoreClient
    keys: ApiKeys | None
    watchdog: Watchdog
    bounds: ClientBounds
    started: int
    traces: Traces | None = None
    leaving: asyncio.Event = field(default_factory=asyncio.Event)
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    def serving(self) -> Ready:
        """What the core serves; ApiError 503 when requests are not taken."""
        ready = self.core.serving
        if ready is None:
            raise ApiError(503, "the engine is not ready", code="not_ready")
        if self.draining.is_set():
            raise _shutting_down()
        return ready

    def drain(self) -> None:
        """Turn new requests away from now on."""
        self.leaving.set()
        self.draining.set()

    def invites(self) -> None:
        """ApiError 503 when new clients had better go elsewhere, though some are still served."""
        self.serving()
        if self.leaving.is_set():
            raise _shutting_down()

    def tenant(self, request: Request) -> str:
        """What keeps the asking key's prefixes apart; ApiError 401 when no key fits."""
        if self.keys is None:
            return ""
        return self.keys.tenant(request.headers.get("authorization"))

    def check_name(self, name: str) -> None:
        """ApiError 404 for a model that is not ours."""
        if name != self.model.name:
            raise ApiError(
                404,
                f"the model {name!r} does not exist; this server has {self.model.name!r}",
                param="model",
                code="model_not_found",
            )

    async def body(self, request: Request) -> bytes:
        """The request's body; ApiError 413 as soon as it is too large, 408 when it is late."""
        size, chunks = 0, []
        most, seconds = self.bounds.body_bytes, self.bounds.receive_seconds
        too_large = ApiError(413, f"the body is larger than {most} bytes")
        # h11 has let nothing but digits through; a body in chunks is measured as it comes.
        if int(request.headers.get("content-length", 0)) > most:
            raise too_large
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > most:
                        raise too_large
                    chunks.append(chunk)
        except TimeoutError:
            raise ApiError(408, f"the body did not come within {seconds:g} s") from None
        return b"".join(chunks)


def _shutting_down() -> ApiError:
    return ApiError(503, "the server is shutting down", code="shutting_down")
