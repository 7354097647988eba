"""response_format and structured_outputs, asked by OpenAI's own client of a real server."""

import json
import re

import openai
import pytest
from serving import start_server

pytestmark = pytest.mark.slow

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]{1,8}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
ASKED = {"model": "tiny", "messages": [{"role": "user", "content": "who"}], "max_tokens": 200}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "person", "schema": SCHEMA, "strict": True},
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    server = start_server(tmp_path_factory.mktemp("structured"), (), {"eos": 257})
    with server.openai() as client:
        yield client
    server.kill()


def check(text):
    person = json.loads(text)
    assert person.keys() == {"name", "age"}
    assert re.fullmatch("[a-z]{1,8}", person["name"])
    assert 0 <= person["age"] <= 120


@pytest.mark.parametrize("fields", [{"temperature": 0}, {"seed": 3}, {"seed": 4, "top_p": 0.5}])
def test_an_answer_fits_its_schema(client, fields):
    answer = client.chat.completions.create(**ASKED, response_format=FORMAT, **fields)
    check(answer.choices[0].message.content)
    assert answer.choices[0].finish_reason == "stop"


def test_each_of_n_answers_fits_and_log_probabilities_come_with_it(client):
    answer = client.chat.completions.create(
        **ASKED, response_format=FORMAT, n=3, seed=7, logprobs=True
    )
    for choice in answer.choices:
        check(choice.message.content)
        told = "".join(one.token for one in choice.logprobs.content)
        assert told == choice.message.content


def test_a_stream_gives_the_same_text(client):
    asked = {**ASKED, "response_format": FORMAT, "seed": 5}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    parts = [
        c.choices[0].delta.content for c in client.chat.completions.create(**asked, stream=True)
    ]
    assert "".join(filter(None, parts)) == whole


def test_json_object_gives_an_object_or_says_that_it_was_cut(client):
    answer = client.chat.completions.create(
        **ASKED, response_format={"type": "json_object"}, temperature=0
    )
    choice = answer.choices[0]
    assert choice.message.content.startswith("{")
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)


def test_text_asks_for_nothing(client):
    plain = client.chat.completions.create(**ASKED, seed=2)
    text = client.chat.completions.create(**ASKED, seed=2, response_format={"type": "text"})
    assert text.choices[0].message.content == plain.choices[0].message.content


@pytest.mark.parametrize(
    ("asked", "pattern"),
    [
        ({"regex": "[0-9]{4}-[a-f]+"}, "[0-9]{4}-[a-f]+"),
        ({"grammar": 'start: ("x" "y")+ "."'}, r"(xy)+\."),
        ({"json": {"enum": ["yes", "no"]}}, '"(yes|no)"'),
    ],
)
def test_a_completion_keeps_to_what_it_is_given(client, asked, pattern):
    answer = client.completions.create(
        model="tiny", prompt="?", max_tokens=200, seed=1, extra_body={"structured_outputs": asked}
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "length" or re.fullmatch(pattern, choice.text)
    assert not re.search(r"[^0-9a-z\-.\"]", choice.text)


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": schema_format({"type": "nonsense"})}, "json_schema.schema"),
        ({"response_format": schema_format({"enum": ["x" * 70_000]})}, "json_schema.schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": FORMAT, "min_tokens": 3}, "min_tokens"),
        ({"response_format": FORMAT, "ignore_eos": True}, "ignore_eos"),
        ({"response_format": FORMAT, "bad_words": ["x"]}, "bad_words"),
        ({"response_format": FORMAT, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs"),
        ({"structured_outputs": {"regex": "a", "grammar": "start: /a/"}}, "structured_outputs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(client, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(**ASKED, extra_body=fields)
    assert param in refused.value.param
