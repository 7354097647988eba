"""The requests of OpenAI's API, field by field: each field works or is refused by name."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from nacelle_runtime.frontends.openai.errors import ApiError
from nacelle_runtime.frontends.openai.formats import Formatted, asked
from nacelle_runtime.frontends.openai.messages import Message
from nacelle_runtime.frontends.openai.tools import Offer, ToolChoice, Tools, offer

# Fields of OpenAI's API that are not built; the values listed ask for nothing and are let through.
NOT_BUILT: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "echo": (None, False),
    "suffix": (None,),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "verbosity": (None,),
    "web_search_options": (None,),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "metadata": (None, {}),
    "prompt_cache_key": (None,),
    "safety_identifier": (None,),
}

Count = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(gt=0, le=1)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
# Whole numbers go to the core, and into traces, as 64 bits.
TopK = Annotated[int, msgspec.Meta(ge=-1, le=(1 << 63) - 1)]
Seed = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Stop = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Stops = Annotated[list[Stop], msgspec.Meta(max_length=16)]
Top = Annotated[int, msgspec.Meta(ge=0, le=20)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]
Bias = Annotated[float, msgspec.Meta(ge=-100, le=100)]


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stream holds beside the answer."""

    include_usage: bool | None = None


class _Common(Formatted, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of both endpoints; `user` only names a client and changes no answer."""

    model: str
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Fraction | None = None
    top_k: TopK | None = None
    seed: Seed | None = None
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    # What divides logits must not make them infinite.
    repetition_penalty: Annotated[float, msgspec.Meta(ge=0.01, le=10)] | None = None
    logit_bias: Annotated[dict[int, Bias], msgspec.Meta(max_length=1024)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    prompt_logprobs: Top | None = None
    priority: Annotated[int, msgspec.Meta(ge=-1000, le=1000)] | None = None
    stop: Stop | Stops | None = None
    stop_token_ids: list[Natural] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def include_usage(self) -> bool:
        """True when a stream is to end with the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/chat/completions."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Top | None = None

    @property
    def told(self) -> int | None:
        """How many of the likeliest ids are told beside each of the answer; None: no id is told."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def offer(self) -> Offer | None:
        """The tools that the answer may or must call; ApiError 400 names a field at fault."""
        made = offer(self.tools, self.tool_choice, self.parallel_tool_calls)
        field = asked(self)
        if made is not None and field is not None:
            raise ApiError(
                400,
                f"{field} leaves no room for a call: leave it out, or say tool_choice: none",
                param=field,
            )
        return made


class CompletionRequest(_Common, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """POST /v1/completions; a prompt is a text or token ids, and there is one of it."""

    prompt: str | list[Any]
    logprobs: Top | Literal[False] | None = None

    @property
    def told(self) -> int | None:
        """How many of the likeliest ids are told beside each of the answer; None: no id is told."""
        return None if self.logprobs is False else self.logprobs


AnyRequest = TypeVar("AnyRequest", ChatRequest, CompletionRequest)


def parse(body: bytes, kind: type[AnyRequest]) -> AnyRequest:
    """The request in a body; ApiError 400 names the field that is wrong, unknown or not built."""
    try:
        fields = msgspec.json.decode(body)
    except RecursionError as error:
        raise ApiError(400, "the body is nested too deeply", code="invalid_json") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise ApiError(400, "the body must be a JSON object")
    for name in NOT_BUILT.keys() & fields.keys():
        given = fields.pop(name)
        if not any(_same(given, value) for value in NOT_BUILT[name]):
            raise ApiError(
                400, f"{name} is not supported: leave it out", param=name, code="unsupported_field"
            )
    try:
        request = msgspec.convert(fields, kind, str_keys=True)
    except msgspec.ValidationError as error:
        raise ApiError(400, str(error), param=_field(str(error))) from error
    if request.stream_options is not None and not request.stream:
        raise ApiError(400, "stream_options needs stream: true", param="stream_options")
    if request.prompt_logprobs is not None and request.stream:
        raise ApiError(400, "prompt_logprobs needs stream: false", param="prompt_logprobs")
    if isinstance(request, ChatRequest) and request.top_logprobs and not request.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    return request


def _same(given: Any, value: Any) -> bool:
    """Equal in JSON's sense: false is not 0."""
    return given == value and isinstance(given, bool) == isinstance(value, bool)


def _field(message: str) -> str | None:
    """The field in msgspec's words: "... - at `$.stop[0]`" or "... unknown field `x`"."""
    quoted = message.rsplit("`", 2)
    if len(quoted) != 3:
        return None
    return quoted[1].removeprefix("$.") if quoted[1] != "$" else None
