"""Strict tools that a model may call: text stays free, and a call fits its schema."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from serving import start_server
from tiny_bundle import make_tokenizer
from tiny_program import SCRIPTED, VOCABULARY
from tool_templates import HERMES, LLAMA, UNKNOWN, padded

from nacelle_runtime.frontends.openai.tool_grammar import grammar_of
from nacelle_runtime.frontends.openai.tools import Function, Offer
from nacelle_runtime.frontends.tool_forms.hermes import Hermes
from nacelle_runtime.frontends.tool_forms.llama import Llama
from nacelle_runtime.structured.grammar import LIMITS

WORD = {"type": "string", "pattern": "^[a-z]{1,8}$"}
STRICT = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/word"}},
    "required": ["x"],
    "additionalProperties": False,
    "$defs": {"word": WORD},
}
OFFER = Offer(
    "auto",
    (),
    {0: Function("f", parameters=STRICT, strict=True), 1: Function("g", parameters=STRICT)},
    several=True,
)
NAMES = OFFER.names
UNKEPT = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}


def hermes(name, arguments):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def llama(name, arguments):
    return f'{{"name": "{name}", "parameters": {arguments}}}'


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """A function: how far a text keeps to a form's grammar (in bytes), and whether it may end."""
    file, model = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json", make_tokenizer()
    model.save(str(file))
    tokenizer = LLTokenizer(str(file), n_vocab=VOCABULARY, eos_token=257)
    made = {
        form: LLMatcher(tokenizer, grammar_of(OFFER, form), log_level=0, limits=LIMITS)
        for form in (Hermes, Llama)
    }

    def take(form, text):
        matcher = made[form].deep_copy()
        # A token is a byte.
        count = matcher.try_consume_tokens(model.encode(text, add_special_tokens=False).ids)
        return count, matcher.is_accepting()

    return take


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (Hermes, ""),
        (Hermes, "Any {text} <tool\n</tool_call>"),
        (Hermes, "Well. " + hermes("f", '{"x": "a"}') + "\n" + hermes("g", '{"y": [1]}') + " So."),
        (Hermes, hermes("f", '{"x": "a"}').replace("\n", "")),
        (Llama, ""),
        (Llama, " \n"),
        (Llama, "Any {text}"),
        (Llama, llama("f", '{"x": "a"}')),
        (Llama, "\n\n" + llama("g", "{}") + "\n"),
    ],
)
def test_what_keeps_to_the_form_is_allowed(taken, form, text):
    assert taken(form, text) == (len(text), True)


@pytest.mark.parametrize(
    ("form", "allowed", "refused"),
    [
        (Hermes, '<tool_call>{"name": "f", "arguments": {"', "y"),
        (Hermes, 'So <tool_call>\n{"name": "f", "arguments": {"x": ', "1"),
        (Hermes, 'So <tool_call>\n{"name": "f", "arguments": {"x": "a', "A"),
        (Hermes, '<tool_call>{"name": "', "h"),
        (Hermes, "So <tool_call>", "S"),
        (Hermes, hermes("f", '{"x": "a"}') + "<tool_call>", "S"),
        (Llama, '{"name": "f", "parameters": {"', "y"),
        (Llama, " {", "S"),
        (Llama, llama("f", '{"x": "a"}'), "S"),
    ],
)
def test_what_does_not_cannot_be_written(taken, form, allowed, refused):
    assert taken(form, allowed)[0] == len(allowed)
    assert taken(form, allowed + refused)[0] == len(allowed)


PARTS = st.sampled_from(
    [
        *("a", " ", "\n", "{", "}", "é", "\x1c", "\x85", "<", "<tool_call>", "</tool_call>"),
        *('{"name": "f", "', 'arguments": ', 'parameters": ', '{"x": "a"}', '{"x": 1}', "{}"),
        *(hermes("f", '{"x": "b"}'), hermes("f", "{}"), llama("f", '{"x": "b"}'), llama("f", "{}")),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([Hermes, Llama]), st.lists(PARTS, max_size=6).map("".join))
def test_a_strict_call_that_is_read_was_held(taken, form, text):
    """Whatever is written under the grammar, cut anywhere: calls read from it fit."""
    count, _ = taken(form, text)
    written = text.encode()[:count].decode(errors="ignore")
    reader = form(NAMES, several=True)
    said = reader.add(written) + reader.rest()
    for call in said.calls:
        if call.name == "f":
            assert re.fullmatch(r'\{"x": "[a-z]{1,8}"\}', call.arguments), written


def tool(name, **fields):
    return {"type": "function", "function": {"name": name, "parameters": STRICT} | fields}


ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
# As long as calls that fit, so that the script stays in step where the grammar changes it.
LOOSE = "See.\n" + hermes("f", '{"y": "a"}') + "\n" + hermes("g", '{"y": "a"}')


def start(folder, template, script):
    bundle = {"eos": 257, "template": padded(template, SCRIPTED), "script": script}
    return start_server(folder, (), bundle)


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    server = start(tmp_path_factory.mktemp("loose"), HERMES, LOOSE)
    with server.openai() as client:
        yield client
    server.kill()


def refusal():
    import openai  # It takes a second, which every process of tests would spend.

    return pytest.raises(openai.BadRequestError)


def functions(message):
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or ()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strict", "first"), [(True, '{"x": "a"}'), (False, '{"y": "a"}'), (None, '{"y": "a"}')]
)
def test_only_strict_functions_are_held(loose, strict, first):
    tools = [tool("f", strict=strict), tool("g")]
    choice = loose.chat.completions.create(**ASKED, tools=tools).choices[0]
    assert choice.message.content == "See."
    assert functions(choice.message) == [("f", first), ("g", '{"y": "a"}')]
    assert choice.finish_reason == "tool_calls"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        (
            {"extra_body": {"min_tokens": 3}},
            "min_tokens",
            "min_tokens: an answer with a grammar ends where the grammar does",
        ),
        (
            {
                "tools": [
                    tool("g", parameters=UNKEPT),
                    tool("f", strict=True, parameters=UNKEPT),
                ]
            },
            "tools[1].function.parameters",
            'tools[1].function.parameters: Unimplemented keys: ["uniqueItems"]',
        ),
    ],
)
def test_what_a_grammar_cannot_keep_is_refused_by_name(loose, fields, param, message):
    with refusal() as refused:
        loose.chat.completions.create(**ASKED | {"tools": [tool("f", strict=True)]} | fields)
    assert refused.value.param == param
    assert refused.value.body["message"].startswith(message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("template", "script"), [(HERMES, "Hm. <tool_call>"), (LLAMA, "{")], ids=["hermes", "llama"]
)
def test_calls_drawn_at_random_fit(tmp_path, template, script):
    server = start(tmp_path, template, script)
    asked = {**ASKED, "temperature": 1, "n": 8, "seed": 5, "max_tokens": 120}
    with server.openai() as client:
        answer = client.chat.completions.create(**asked, tools=[tool("f", strict=True)])
    server.kill()
    found = [call for choice in answer.choices for call in functions(choice.message)]
    assert len(found) == 8
    assert len(set(found)) > 4
    for name, arguments in found:
        assert name == "f"
        assert re.fullmatch("[a-z]{1,8}", json.loads(arguments)["x"])


@pytest.mark.slow
def test_where_the_form_is_not_known_strict_is_refused(tmp_path):
    server = start(tmp_path, UNKNOWN, "f()")
    with server.openai() as client, refusal() as refused:
        client.chat.completions.create(**ASKED, tools=[tool("g"), tool("f", strict=True)])
    server.kill()
    assert refused.value.param == "tools[1].function.strict"
    assert refused.value.body["message"] == (
        "tools[1].function.strict: the form in which tiny calls tools is not known, so that calls "
        "of its own accord cannot be strict: leave it out, or say tool_choice: required"
    )
