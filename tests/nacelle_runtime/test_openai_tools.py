"""Answers that must call a tool, asked by OpenAI's own client of a real server."""

import json
import re

import openai
import pytest
from serving import start_server

pytestmark = pytest.mark.slow

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "pattern": "^[a-z]{1,8}$"},
        "days": {"$ref": "#/$defs/days"},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
    "$defs": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
}


def tool(name, parameters=None):
    described = {"name": name, "description": "It helps."}
    return {"type": "function", "function": described | ({"parameters": parameters or {}})}


TOOLS = [
    tool("weather", WEATHER),
    {"type": "function", "function": {"name": "time", "strict": True}},
]
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 300}
NAMED = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    server = start_server(tmp_path_factory.mktemp("tools"), (), {"eos": 257, "max_seq_len": 700})
    with server.openai() as client:
        yield client
    server.kill()


def check(call):
    arguments = json.loads(call.function.arguments)
    assert call.type == "function"
    if call.function.name == "time":
        assert arguments == {}
        return
    assert call.function.name == "weather"
    assert arguments.keys() == {"city", "days"}
    assert re.fullmatch("[a-z]{1,8}", arguments["city"])
    assert 1 <= arguments["days"] <= 9


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_a_required_answer_is_a_call_or_several(client, seed):
    answer = client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice="required", seed=seed)
    choice = answer.choices[0]
    assert choice.message.content is None
    assert choice.finish_reason == "tool_calls"
    assert len({call.id for call in choice.message.tool_calls}) == len(choice.message.tool_calls)
    for call in choice.message.tool_calls:
        check(call)


def test_each_of_n_answers_is_one_call_where_calls_are_not_parallel(client):
    answer = client.chat.completions.create(
        **ASKED, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, n=4, seed=1
    )
    for choice in answer.choices:
        (call,) = choice.message.tool_calls
        check(call)
        assert choice.finish_reason == "tool_calls"


def test_several_calls_come_in_one_answer(client):
    answers = client.chat.completions.create(
        **ASKED, tools=TOOLS, tool_choice="required", n=8, seed=2
    )
    assert max(len(choice.message.tool_calls) for choice in answers.choices) > 1


def test_a_named_function_is_called_once_and_the_answer_stops(client):
    answer = client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice=NAMED, n=3, seed=9)
    for choice in answer.choices:
        (call,) = choice.message.tool_calls
        assert call.function.name == "weather"
        check(call)
        assert choice.finish_reason == "stop"


@pytest.mark.parametrize("choice", ["required", NAMED])
def test_a_stream_gives_the_name_first_and_then_the_arguments(client, choice):
    asked = {**ASKED, "tools": TOOLS, "tool_choice": choice, "seed": 5}
    whole = client.chat.completions.create(**asked).choices[0]
    chunks = [c.choices[0] for c in client.chat.completions.create(**asked, stream=True)]
    assert chunks[0].delta.role == "assistant"
    assert not any(chunk.delta.content for chunk in chunks)
    calls = {}
    for part in (part for chunk in chunks for part in chunk.delta.tool_calls or ()):
        if part.index not in calls:
            assert (part.type, part.function.arguments) == ("function", "")
            calls[part.index] = [part.function.name, ""]
        else:
            assert (part.id, part.function.name) == (None, None)
        calls[part.index][1] += part.function.arguments
    assert list(calls) == list(range(len(calls)))
    expected = [[c.function.name, c.function.arguments] for c in whole.message.tool_calls]
    assert list(calls.values()) == expected
    assert chunks[-1].finish_reason == whole.finish_reason
    assert len(chunks) > 10, "the arguments came in one go"


def test_the_clients_own_helper_puts_a_stream_together(client):
    asked = {**ASKED, "tools": [TOOLS[1]], "tool_choice": "required", "seed": 6}
    with client.chat.completions.stream(**asked) as stream:
        message = stream.get_final_completion().choices[0].message
    assert {call.function.name for call in message.tool_calls} == {"time"}
    assert {call.function.arguments for call in message.tool_calls} == {"{}"}


def test_an_answer_cut_amid_a_call_says_so(client):
    answer = client.chat.completions.create(
        **ASKED | {"max_tokens": 45}, tools=TOOLS, tool_choice=NAMED, seed=1
    )
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "length"
    assert call.function.arguments.startswith('{"city')


def test_log_probabilities_are_those_of_the_text_that_was_written(client):
    answer = client.chat.completions.create(
        **ASKED, tools=TOOLS, tool_choice=NAMED, seed=1, logprobs=True
    )
    choice = answer.choices[0]
    written = json.loads("".join(one.token for one in choice.logprobs.content))
    assert written["name"] == "weather"
    assert written["arguments"] == json.loads(choice.message.tool_calls[0].function.arguments)


def test_a_call_and_its_result_go_back_to_the_model(client):
    first = (
        client.chat.completions.create(**ASKED, tools=TOOLS, tool_choice=NAMED, seed=3)
        .choices[0]
        .message
    )
    result = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "sunny"}
    messages = [*ASKED["messages"], first, result]
    answer = client.chat.completions.create(
        **ASKED | {"messages": messages}, tools=TOOLS, tool_choice="none", temperature=0
    )
    assert answer.usage.prompt_tokens == len("user: Hi\nassistant: \ntool: sunny\n")
    assert answer.choices[0].message.tool_calls is None


def test_none_and_no_tools_ask_for_plain_text(client):
    plain = client.chat.completions.create(**ASKED, seed=2)
    for fields in ({"tools": TOOLS, "tool_choice": "none"}, {"tools": [], "tool_choice": "auto"}):
        answer = client.chat.completions.create(**ASKED, **fields, seed=2)
        assert answer.choices[0].message.content == plain.choices[0].message.content


def required(*tools, **fields):
    return {"tools": list(tools), "tool_choice": "required", **fields}


def answered(**fields):
    call = {"name": "weather", "arguments": "{}"} | fields
    calls = [{"id": "1", "type": "function", "function": call}]
    return {"messages": [{"role": "assistant", "content": None, "tool_calls": calls}]}


OTHER = {"type": "function", "function": {"name": "other"}}
FORMAT = {"type": "json_object"}


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"tools": [{}]}, "tools[0]", "missing required field `type`"),
        ({"tools": TOOLS}, "tool_choice", "takes no tools"),
        ({"tools": TOOLS, "tool_choice": OTHER}, "tool_choice", "no tool has the name 'other'"),
        ({"tools": TOOLS, "tool_choice": "any"}, "tool_choice", "'any'"),
        ({"tool_choice": "required"}, "tool_choice", "needs tools"),
        ({"tool_choice": NAMED, "tools": []}, "tool_choice", "needs tools"),
        (required(*TOOLS, TOOLS[0]), "tools[2].function.name", "'weather' is there already"),
        (required(*[tool("x")] * 129), "tools", "<= 128"),
        (required(tool("a b", WEATHER)), "tools[0].function.name", "matching regex"),
        (required(tool("x")), "tools[0].function.parameters", '"type": "object" is needed'),
        (required(tool("x", {"type": "array"})), "tools[0].function.parameters", "is needed"),
        (
            required(TOOLS[0], tool("x", WEATHER | {"properties": {"a": {"uniqueItems": True}}})),
            "tools[1].function.parameters",
            "uniqueItems",
        ),
        (
            required(*(tool(f"x{i}", WEATHER | {"title": "t" * 40_000}) for i in range(2))),
            "tools",
            "at most 65536",
        ),
        (required(*TOOLS, response_format=FORMAT), "response_format", "no room for a call"),
        (
            required(*TOOLS, structured_outputs={"regex": "a"}),
            "structured_outputs",
            "no room for a call",
        ),
        (required(*TOOLS, min_tokens=3), "min_tokens", "ends where the grammar does"),
        (required(*TOOLS, parallel_tool_calls="yes"), "parallel_tool_calls", "Expected `bool"),
        (answered(arguments="{"), "messages[0].tool_calls[0].function.arguments", "not JSON"),
        (answered(arguments="[]"), "messages[0].tool_calls[0].function.arguments", "of an object"),
        (
            {"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]},
            "messages[0].tool_call_id",
            "made a call of this id",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]", "`tool_call_id`"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content", "give content or"),
        (
            {"messages": [{"role": "user", "content": None}]},
            "messages[0].content",
            "got `null`",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(client, fields, param, words):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**ASKED | {"extra_body": fields})
    assert refused.value.param == param
    assert words in refused.value.body["message"]
    assert refused.value.type == "invalid_request_error"


def test_completions_have_no_tools(client):
    with pytest.raises(openai.BadRequestError, match="unknown field `tools`"):
        client.completions.create(model="tiny", prompt="x", extra_body={"tools": TOOLS})
