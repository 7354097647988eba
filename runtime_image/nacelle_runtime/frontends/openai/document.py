"""The API as an OpenAPI 3.1 document: the requests from their types, so that none is forgotten."""

from typing import Any, Final

import msgspec

from nacelle_runtime.frontends.openai.schema import ChatRequest, CompletionRequest

_REFERENCE: Final = "#/components/schemas/{name}"
_TEXT: Final = {"text/plain": {"schema": {"type": "string"}}}
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_ANSWER: Final = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices", "usage"],
    "properties": {
        "id": {"type": "string"},
        "object": {"enum": ["chat.completion", "text_completion"]},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "usage": {"type": "object"},
    },
}
_MODEL: Final = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {"id": {"type": "string"}, "object": {"const": "model"}},
}
_MODELS: Final = {
    "type": "object",
    "required": ["object", "data"],
    "properties": {"data": {"type": "array", "items": _MODEL}},
}
_ERRORS: Final = {
    "400": "a field is wrong, unknown or not supported; the error names it",
    "401": "an API key is needed",
    "404": "there is no such model",
    "408": "the request took too long to come",
    "413": "the body is too large",
    "429": "the queue is full",
    "503": "the engine is not ready, or has ended",
}


def document(model: str) -> dict[str, Any]:
    """The document for a server of one model, whose name the requests must give."""
    requests, schemas = msgspec.json.schema_components(
        (ChatRequest, CompletionRequest), ref_template=_REFERENCE
    )
    for kind in (ChatRequest, CompletionRequest):
        schemas[kind.__name__]["properties"]["model"] = {"type": "string", "const": model}
    named = {"name": "model", "in": "path", "required": True, "schema": {"const": model}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Nacelle", "version": "1"},
        "paths": {
            "/v1/chat/completions": {"post": _generating(requests[0])},
            "/v1/completions": {"post": _generating(requests[1])},
            "/v1/models": {"get": _getting(_json(_MODELS), "401")},
            "/v1/models/{model}": {
                "get": {"parameters": [named], **_getting(_json(_MODEL), "401", "404")}
            },
            "/health/live": {"get": _getting(_TEXT, "503")},
            "/health/ready": {"get": _getting(_TEXT, "503")},
            "/metrics": {"get": _getting(_TEXT, "503")},
        },
        "components": {"schemas": schemas},
    }


def _generating(request: dict[str, Any]) -> dict[str, Any]:
    stream: dict[str, Any] = {"text/event-stream": {}}
    return {
        "requestBody": {"required": True, "content": _json(request)},
        **_getting({**_json(_ANSWER), **stream}, *_ERRORS),
    }


def _getting(content: dict[str, Any], *errors: str) -> dict[str, Any]:
    refusals = {
        status: {"description": _ERRORS[status], "content": _json(_ERROR)} for status in errors
    }
    return {"responses": {"200": {"description": "the answer", "content": content}, **refusals}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
