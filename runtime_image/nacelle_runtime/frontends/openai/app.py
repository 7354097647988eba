"""The routes: OpenAI's API, health and metrics, as a FastAPI application."""

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response

from nacelle_runtime.client import CoreLost, RequestRefused
from nacelle_runtime.figures import Figure
from nacelle_runtime.frontends.openai.document import document
from nacelle_runtime.frontends.openai.errors import ApiError, json_response, refused
from nacelle_runtime.frontends.openai.frontend import Frontend
from nacelle_runtime.frontends.openai.generate import respond
from nacelle_runtime.frontends.openai.gone import ClientGone
from nacelle_runtime.frontends.openai.prompts import chat_generation, completion_generation
from nacelle_runtime.frontends.openai.schema import ChatRequest, CompletionRequest, parse
from nacelle_runtime.frontends.openai.story import story_of
from nacelle_runtime.metrics import exposition

# How long /metrics waits for the core: far longer than a step (s).
_STATS_DEADLINE = 5.0
# Not sent to anybody: the client has closed its connection.
_CLIENT_GONE = 499


def make_app(frontend: Frontend) -> FastAPI:
    """The application over one connection to the core."""
    app = FastAPI(title="Nacelle", openapi_url=None)
    _add_errors(app)
    _add_health(app, frontend)
    _add_models(app, frontend)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        salt, ready = frontend.tenant(request), frontend.serving()
        parsed = parse(await frontend.body(request), ChatRequest)
        frontend.check_name(parsed.model)
        generation = await chat_generation(parsed, frontend.model, ready)
        return await respond(frontend, request, parsed, replace(generation, salt=salt))

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        salt, ready = frontend.tenant(request), frontend.serving()
        parsed = parse(await frontend.body(request), CompletionRequest)
        frontend.check_name(parsed.model)
        generation = await completion_generation(parsed, frontend.model, ready)
        return await respond(frontend, request, parsed, replace(generation, salt=salt))

    return app


def _add_models(app: FastAPI, frontend: Frontend) -> None:
    name = frontend.model.name
    model: dict[str, Any] = {
        "id": name,
        "object": "model",
        "created": frontend.started,
        "owned_by": "nacelle",
    }

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        frontend.tenant(request)
        return json_response({"object": "list", "data": [model]})

    @app.get("/v1/models/{asked:path}")
    async def one_model(request: Request, asked: str) -> Response:
        frontend.tenant(request)
        frontend.check_name(asked)
        return json_response(model)

    described = document(name)

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return json_response(described)


def _add_health(app: FastAPI, frontend: Frontend) -> None:
    @app.get("/health/live")
    async def live() -> Response:
        if frontend.core.lost.is_set():
            raise ApiError(503, "the core has ended", code="core_lost")
        if frontend.watchdog.stuck(time.monotonic()):
            seconds = frontend.watchdog.deadline
            raise ApiError(
                503, f"no step of the core has ended for {seconds:g} s", code="core_stuck"
            )
        return PlainTextResponse("live\n")

    @app.get("/health/ready")
    async def ready() -> Response:
        frontend.invites()
        return PlainTextResponse("ready\n")

    @app.get("/metrics")
    async def metrics() -> Response:
        try:
            async with asyncio.timeout(_STATS_DEADLINE):
                stats = await frontend.core.stats()
        except TimeoutError as error:
            raise ApiError(503, "the core gives no figures", code="core_busy") from error
        ready, name = frontend.core.ready.result(), frontend.model.name
        tasks = Figure(
            "nacelle_frontend_tasks",
            "Tasks of the frontend's event loop",
            len(asyncio.all_tasks()),
            labels={"model": name},
        )
        ours = (tasks, *(frontend.traces.figures(name) if frontend.traces else ()))
        return Response(exposition(stats, ready, name, ours), media_type="text/plain")


def _add_errors(app: FastAPI) -> None:
    """Every error leaves in OpenAI's form, and its request's story tells of it."""

    def answer(request: Request, error: ApiError) -> Response:
        return story_of(request.scope).ended_by(error).response()

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return answer(request, error)

    @app.exception_handler(RequestRefused)
    async def not_taken(request: Request, error: RequestRefused) -> Response:
        return answer(request, refused(error.code, str(error)))

    @app.exception_handler(CoreLost)
    async def core_lost(request: Request, error: CoreLost) -> Response:
        return answer(request, ApiError(503, str(error), code="core_lost"))

    @app.exception_handler(ClientGone)
    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, _error: Exception) -> Response:
        story_of(request.scope).left_by(ClientGone())
        return Response(status_code=_CLIENT_GONE)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return answer(request, ApiError(error.status_code, str(error.detail)))

    @app.exception_handler(Exception)
    async def own_bug(request: Request, error: Exception) -> Response:
        logging.getLogger("nacelle").error("a request failed", exc_info=error)
        return answer(request, ApiError(500, "the server failed on this request"))
