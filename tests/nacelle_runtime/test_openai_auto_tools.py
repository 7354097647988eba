"""Tools that a model may call: it is told of them by its template, and writes calls in its form."""

import openai
import pytest
from serving import start_server
from tiny_program import SCRIPTED
from tool_templates import HERMES, ONE_CALL, UNKNOWN, padded

pytestmark = pytest.mark.slow

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
        },
    }
    for name in ("f", "g")
]
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
CALLS = (
    'Let me see.\n<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>\n'
    '<tool_call>{"name": "g", "arguments": {}}</tool_call>'
)
READ = [("f", '{"x": 1}'), ("g", "{}")]
OBJECT = '{"name": "f", "parameters": {"x": 1}}'


def start(folder, template, script):
    template = padded(template, SCRIPTED)
    return start_server(folder, (), {"eos": 257, "template": template, "script": script})


@pytest.fixture(scope="module")
def hermes(tmp_path_factory):
    server = start(tmp_path_factory.mktemp("hermes"), HERMES, CALLS)
    with server.openai() as client:
        yield client
    server.kill()


def functions(message):
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]


@pytest.mark.parametrize("fields", [{}, {"tool_choice": "auto", "parallel_tool_calls": True}])
def test_calls_are_told_apart_from_the_text(hermes, fields):
    choice = hermes.chat.completions.create(**ASKED, tools=TOOLS, **fields).choices[0]
    assert choice.message.content == "Let me see."
    assert functions(choice.message) == READ
    assert choice.finish_reason == "tool_calls"


def test_one_call_alone_where_they_are_not_parallel(hermes):
    answer = hermes.chat.completions.create(**ASKED, tools=TOOLS, parallel_tool_calls=False)
    assert functions(answer.choices[0].message) == READ[:1]


def test_a_stream_gives_each_call_when_it_is_whole(hermes):
    chunks = list(hermes.chat.completions.create(**ASKED, tools=TOOLS, n=2, stream=True))
    for index in range(2):
        deltas = [c.choices[0].delta for c in chunks if c.choices[0].index == index]
        assert "".join(delta.content or "" for delta in deltas) == "Let me see."
        parts = [part for delta in deltas for part in delta.tool_calls or ()]
        assert [part.index for part in parts] == [0, 1]
        assert [(part.function.name, part.function.arguments) for part in parts] == READ
        assert all(part.id and part.type == "function" for part in parts)
    ends = [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason]
    assert ends == ["tool_calls"] * 2


@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS, "tool_choice": "none"}])
def test_without_a_tool_to_call_the_same_text_is_content(hermes, fields):
    choice = hermes.chat.completions.create(**ASKED, **fields).choices[0]
    assert choice.message.content == CALLS
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "stop"


def test_a_call_that_was_cut_stays_text(hermes):
    asked = ASKED | {"tools": TOOLS, "max_tokens": 40}
    choice = hermes.chat.completions.create(**asked).choices[0]
    assert choice.message.content == CALLS[:40]
    assert choice.message.tool_calls is None
    assert choice.finish_reason == "length"


def test_calls_and_results_go_back_in_the_models_form(hermes):
    first = hermes.chat.completions.create(**ASKED, tools=TOOLS).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": [{"type": "text", "text": "1"}]}
        for call in first.tool_calls
    ]
    messages = [*ASKED["messages"], first, *results]
    # As long as the prompt that the script answers: so it was padded, and no character is missing.
    again = hermes.chat.completions.create(**ASKED | {"messages": messages}, tools=TOOLS)
    assert again.usage.prompt_tokens == SCRIPTED
    assert functions(again.choices[0].message) == READ


def test_a_required_call_is_held_to_by_the_grammar(hermes):
    answer = hermes.chat.completions.create(
        **ASKED, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, max_tokens=100
    )
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name in {"f", "g"}


def test_a_form_beside_tools_leaves_no_room_for_a_call(hermes):
    with pytest.raises(openai.BadRequestError) as refused:
        hermes.chat.completions.create(
            **ASKED, tools=TOOLS, response_format={"type": "json_object"}
        )
    assert refused.value.param == "response_format"


def stream(client):
    """A streamed answer's content and calls."""
    deltas = [
        c.choices[0].delta
        for c in client.chat.completions.create(**ASKED, tools=TOOLS, stream=True)
    ]
    text = "".join(delta.content or "" for delta in deltas)
    return text, [call for delta in deltas for call in functions(delta)]


def test_llama_calls_by_a_whole_answer_and_once(serve):
    server = serve(eos=257, template=padded(ONE_CALL, SCRIPTED), script=OBJECT)
    with server.openai() as client:
        choice = client.chat.completions.create(**ASKED, tools=TOOLS).choices[0]
        assert choice.message.content is None
        assert functions(choice.message) == [("f", '{"x": 1}')]
        assert choice.finish_reason == "tool_calls"
        assert stream(client) == ("", [("f", '{"x": 1}')])
        forced = client.chat.completions.create(
            **ASKED | {"temperature": 1}, tools=TOOLS, tool_choice="required", n=6, seed=1
        )
    assert [len(choice.message.tool_calls) for choice in forced.choices] == [1] * 6


def test_a_chat_with_tools_has_a_template_of_its_own_where_the_model_does(serve):
    named = {"default": "no tools", "tool_use": padded(HERMES, SCRIPTED)}
    template = [{"name": name, "template": source} for name, source in named.items()]
    server = serve(eos=257, template=template, script=CALLS)
    with server.openai() as client:
        choice = client.chat.completions.create(**ASKED, tools=TOOLS).choices[0]
        plain = client.chat.completions.create(**ASKED, max_tokens=1)
    assert functions(choice.message) == READ
    assert plain.usage.prompt_tokens == len("no tools")


def test_a_form_that_is_not_known_stays_text(serve):
    script = "f({'x': 1})"
    server = serve(eos=257, template=padded(UNKNOWN, SCRIPTED), script=script)
    with server.openai() as client:
        choice = client.chat.completions.create(**ASKED, tools=TOOLS).choices[0]
        assert (choice.message.content, choice.message.tool_calls) == (script, None)
        assert choice.finish_reason == "stop"
        assert stream(client) == (script, [])
