"""Calls read from text, however it is cut: whole calls only, and never a part of a marker."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tool_templates import HERMES, LLAMA, NO_TOOLS, ONE_CALL, UNKNOWN

from nacelle_runtime.frontends.chat_template import ChatTemplate
from nacelle_runtime.frontends.openai.call_form import whole_calls
from nacelle_runtime.frontends.tool_calls import Said
from nacelle_runtime.frontends.tool_forms.forced import Forced
from nacelle_runtime.frontends.tool_forms.hermes import Hermes
from nacelle_runtime.frontends.tool_forms.llama import Llama
from nacelle_runtime.frontends.tool_forms.table import form_of

NAMES = frozenset({"f", "g"})


def hermes(several=True):
    return Hermes(NAMES, several=several)


def llama():
    return Llama(NAMES, several=True)


def call(name, arguments, key="arguments"):
    return f'{{"name": "{name}", "{key}": {arguments}}}'


def tagged(name, arguments):
    return f"<tool_call>\n{call(name, arguments)}\n</tool_call>"


def read(reader, parts):
    """Content, calls as (name, arguments), and what `stop` becomes."""
    said = Said()
    for part in parts:
        said += reader.add(part)
    said += reader.rest()
    functions = [made["function"] for made in whole_calls(said.calls)]
    calls = [(function["name"], function["arguments"]) for function in functions]
    return said.content, calls, reader.finish("stop")


def cuts(text):
    """A text in pieces of 1 to 7 characters."""
    return st.integers(0, 2**32).map(lambda seed: list(pieces(text, random.Random(seed))))


def walks():
    """What a text is cut by: of seeds, hypothesis would know no better than to try as many."""
    return map(random.Random, range(100))


def pieces(text, walk):
    while text:
        size = walk.randrange(1, 8)
        yield text[:size]
        text = text[size:]


ONE, TWO = tagged("f", '{"x": "</tool"}'), tagged("g", "{}")
BROKEN = "<tool_call>{x}</tool_call>"
UNFINISHED = '<tool_call>{"name": "f", "arg'
CASES = [
    ("Hello there.\n", ("Hello there.\n", [], "stop")),
    ("a <tool_ b <tool_call", ("a <tool_ b <tool_call", [], "stop")),
    (ONE, ("", [("f", '{"x": "</tool"}')], "tool_calls")),
    (f"Let me see.\n\n{ONE}\n", ("Let me see.", [("f", '{"x": "</tool"}')], "tool_calls")),
    (f"{ONE}\n{TWO}", ("", [("f", '{"x": "</tool"}'), ("g", "{}")], "tool_calls")),
    (ONE.removesuffix("</tool_call>"), ("", [("f", '{"x": "</tool"}')], "tool_calls")),
    (f"See: {BROKEN} !", (f"See: {BROKEN} !", [], "stop")),
    (f"See: {UNFINISHED}", (f"See: {UNFINISHED}", [], "stop")),
    (tagged("other", "{}"), (tagged("other", "{}"), [], "stop")),
    (tagged("f", "[]"), (tagged("f", "[]"), [], "stop")),
    (f"{BROKEN}\n{TWO}", (BROKEN, [("g", "{}")], "tool_calls")),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_hermes(text, expected):
    for walk in walks():
        assert read(hermes(), list(pieces(text, walk))) == expected


def test_hermes_gives_the_first_call_alone_where_calls_are_not_parallel():
    assert read(hermes(several=False), [f"{TWO}\n{ONE}"]) == ("", [("g", "{}")], "tool_calls")


def test_hermes_shows_no_part_of_a_marker_and_a_whole_call_at_once():
    reader, shown = hermes(), ""
    text = f"Well < then. {TWO}"
    for at, sign in enumerate(text):
        said = reader.add(sign)
        shown += said.content
        assert "Well < then.".startswith(shown)
        assert bool(said.calls) == (at == len(text) - 1)


OBJECT = call("f", '{"x": {"y": 1}}', "parameters")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello {x}.\n", ("Hello {x}.\n", [], "stop")),
        (f"\n{OBJECT}\n", ("", [("f", '{"x": {"y": 1}}')], "tool_calls")),
        ('{"x": 1} is JSON', ('{"x": 1} is JSON', [], "stop")),
        (f"{OBJECT} it is", (f"{OBJECT} it is", [], "stop")),
        (OBJECT.replace("f", "other"), (OBJECT.replace("f", "other"), [], "stop")),
        (OBJECT.replace("parameters", "z"), (OBJECT.replace("parameters", "z"), [], "stop")),
        (OBJECT[:-2], (OBJECT[:-2], [], "stop")),
        ("  ", ("  ", [], "stop")),
    ],
)
def test_llama(text, expected):
    for walk in walks():
        assert read(llama(), list(pieces(text, walk))) == expected


def test_an_answer_that_was_cut_says_so_though_it_called():
    for reader, text in ((hermes(), ONE), (llama(), OBJECT)):
        assert read(reader, [text])[1]
        assert reader.finish("length") == "length"


VALUES = st.recursive(
    st.none() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text('ab"\\}{', max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["x", "y"]), VALUES)


@given(data=st.data(), calls=st.lists(ARGUMENTS, min_size=1, max_size=3), listed=st.booleans())
def test_forced_calls_are_read_as_they_were_written(data, calls, listed):
    calls = calls if listed else calls[:1]
    texts = [json.dumps(arguments, ensure_ascii=False) for arguments in calls]
    text = ", ".join(call("f", one) for one in texts)
    text = f"[{text}]" if listed else text
    found = read(Forced(named=False), data.draw(cuts(text)))
    assert found == ("", [("f", one) for one in texts], "tool_calls")


@given(data=st.data(), arguments=ARGUMENTS)
def test_a_forced_call_that_was_cut_gives_the_beginning_of_its_arguments(data, arguments):
    text = json.dumps(arguments)
    whole = call("f", text)
    cut = data.draw(st.integers(len(call("f", "")) - 1, len(whole) - 3))
    _, calls, finish = read(Forced(named=False), data.draw(cuts(whole[:cut])))
    assert finish == "stop"
    assert [name for name, _ in calls] == ["f"]
    assert text.startswith(calls[0][1])


@pytest.mark.parametrize(
    ("source", "takes", "form"),
    [
        (HERMES, True, Hermes),
        (LLAMA, True, Llama),
        (UNKNOWN, True, None),
        (NO_TOOLS, False, None),
        ("{{ raise_exception('never') }}", False, None),
    ],
)
def test_a_template_shows_its_form(source, takes, form):
    template = ChatTemplate(source, {})
    assert template.takes_tools == takes
    assert form_of(template) is form


@pytest.mark.parametrize(
    ("source", "several"), [(HERMES, True), (NO_TOOLS, True), (ONE_CALL, False)]
)
def test_a_template_shows_whether_it_takes_several_calls(source, several):
    assert ChatTemplate(source, {}).takes_several_calls == several


def test_a_template_that_nests_too_deeply_is_refused():
    deep = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(Exception, match="refuses"):
        ChatTemplate("{{ tools | tojson }}", {}).render([], [deep])
