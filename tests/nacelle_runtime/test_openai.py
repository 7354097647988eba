"""The OpenAI surface, asked by OpenAI's own client over a real `nacelle serve`."""

import json

import openai
import pytest
from serving import start_server
from tiny_bundle import EOS
from tiny_program import TinyProgram

pytestmark = pytest.mark.slow
MODEL = TinyProgram()
PROMPT = [40, 41, 42]


def text_of(tokens):
    return "".join(chr(33 + token) for token in tokens)


def greedy(prompt, count, stop_ids=(EOS,)):
    answer = MODEL.greedy(prompt, count, stop_ids)
    return text_of(answer[:-1] if answer[-1] in stop_ids else answer)


@pytest.fixture(scope="module")
def client(shared_server):
    with shared_server.openai() as client:
        yield client


def complete(client, **fields):
    return client.completions.create(
        **({"model": "tiny", "prompt": PROMPT, "temperature": 0} | fields)
    )


def test_models(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "nacelle"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


def test_a_completion_is_the_models_own_answer(client):
    answer = complete(client)
    assert answer.choices[0].text == greedy(PROMPT, 16)
    assert answer.choices[0].finish_reason == "length"
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 16, 19)
    assert answer.id.startswith("cmpl-")


def test_a_text_prompt_is_tokenised(client):
    answer = complete(client, prompt=text_of(PROMPT), max_tokens=9)
    assert answer.choices[0].text == greedy(PROMPT, 9)


def test_an_answer_ends_at_eos_and_goes_on_past_it_when_asked(client):
    prompt = [1]
    assert EOS in MODEL.greedy(prompt, 60)[1:], "the tiny model does not end this answer"
    answer = complete(client, prompt=prompt, max_tokens=60)
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].text == greedy(prompt, 60)
    longer = complete(client, prompt=prompt, max_tokens=60, extra_body={"ignore_eos": True})
    assert longer.choices[0].text == greedy(prompt, 60, ())
    assert longer.choices[0].finish_reason == "length"


def test_a_stop_string_over_token_borders_ends_the_answer(client):
    whole = greedy(PROMPT, 30)
    stop = whole[10:14]
    for stops in (stop, ["not there", stop]):
        answer = complete(client, max_tokens=30, stop=stops)
        assert answer.choices[0].text == whole[: whole.index(stop)]
        assert answer.choices[0].finish_reason == "stop"


def test_stop_token_ids_and_min_tokens(client):
    tokens = MODEL.greedy(PROMPT, 20)
    extra = {"stop_token_ids": [tokens[5]]}
    answer = complete(client, max_tokens=20, extra_body=extra)
    assert answer.choices[0].text == text_of(tokens[: tokens.index(tokens[5])])
    answer = complete(client, max_tokens=20, extra_body=extra | {"min_tokens": 12})
    assert answer.usage.completion_tokens >= 12
    assert chr(33 + tokens[5]) not in answer.choices[0].text[:12]


def test_streaming_gives_the_same_text_and_usage(client):
    chunks = list(
        complete(client, max_tokens=40, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(c.choices[0].text for c in chunks if c.choices) == greedy(PROMPT, 40)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert chunks[-1].usage.completion_tokens == 40
    assert len(chunks) > 10, "the answer came in one go"


def test_a_streamed_stop_string_never_shows_a_part(client):
    whole = greedy(PROMPT, 30)
    stop = whole[12:17]
    shown = ""
    for chunk in complete(client, max_tokens=30, stop=stop, stream=True):
        shown += chunk.choices[0].text
        assert whole[: whole.index(stop)].startswith(shown)
    assert shown == whole[: whole.index(stop)]


MESSAGES = [{"role": "system", "content": "Be"}, {"role": "user", "content": "Hi"}]
RENDERED = "system: Be\nuser: Hi\n"


def test_a_chat_renders_the_models_template(client):
    chat = client.chat.completions.create(
        model="tiny", messages=MESSAGES, temperature=0, max_completion_tokens=12
    )
    plain = complete(client, prompt=RENDERED, max_tokens=12)
    assert chat.choices[0].message.content == plain.choices[0].text
    assert chat.choices[0].message.role == "assistant"
    assert chat.usage.prompt_tokens == len(RENDERED)
    assert chat.id.startswith("chatcmpl-")


def test_a_streamed_chat(client):
    fields = {"model": "tiny", "messages": MESSAGES, "temperature": 0, "max_tokens": 12}
    whole = client.chat.completions.create(**fields)
    chunks = list(client.chat.completions.create(**fields, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "length"
    assert len({c.id for c in chunks}) == 1


def test_a_chat_answers_as_far_as_there_is_room(client):
    chat = client.chat.completions.create(
        model="tiny", messages=MESSAGES, temperature=0, extra_body={"ignore_eos": True}
    )
    assert chat.usage.total_tokens == 400


def test_message_parts_and_an_answer_sent_back(client):
    fields = {"model": "tiny", "temperature": 0, "max_tokens": 3}
    first = client.chat.completions.create(messages=MESSAGES, **fields)
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        first.choices[0].message,
        {"role": "user", "content": "more"},
    ]
    answer = client.chat.completions.create(messages=messages, **fields)
    assert answer.usage.completion_tokens == 3


def test_a_seed_repeats_an_answer_and_none_does_not(client):
    def draw(**fields):
        return complete(client, max_tokens=30, temperature=1.5, **fields).choices[0].text

    assert draw(seed=5) == draw(seed=5)
    assert len({draw(seed=5), draw(seed=6), draw(), draw()}) == 4


def test_top_k_one_is_greedy(client):
    answer = complete(client, temperature=2, extra_body={"top_k": 1})
    assert answer.choices[0].text == greedy(PROMPT, 16)


def test_the_clients_request_id_comes_back(client):
    raw = client.completions.with_raw_response.create(
        model="tiny", prompt="x", max_tokens=1, extra_headers={"X-Request-Id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == "mine-1"


CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
COMPLETION = {"model": "tiny", "prompt": "Hi"}


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "message"),
    [
        ("chat/completions", "{", 400, None, "the body is not JSON"),
        ("chat/completions", "[]", 400, None, "must be a JSON object"),
        ("chat/completions", CHAT | {"n": 0}, 400, "n", ">= 1"),
        ("chat/completions", CHAT | {"functions": [{}]}, 400, "functions", "not supported"),
        ("chat/completions", CHAT | {"logprobs": 2}, 400, "logprobs", "Expected `bool"),
        ("chat/completions", CHAT | {"top_logprobs": 2}, 400, "top_logprobs", "needs logprobs"),
        (
            "chat/completions",
            CHAT | {"logprobs": True, "top_logprobs": 21},
            400,
            "top_logprobs",
            "<= 20",
        ),
        (
            "chat/completions",
            CHAT | {"prompt_logprobs": 1, "stream": True},
            400,
            "prompt_logprobs",
            "needs stream: false",
        ),
        ("chat/completions", CHAT | {"logit_bias": {"a": 1}}, 400, "logit_bias", "Expected `int`"),
        ("chat/completions", CHAT | {"logit_bias": {"260": 1}}, 400, "logit_bias", "end at 259"),
        ("chat/completions", CHAT | {"logit_bias": {"5": 101}}, 400, "logit_bias[...]", "<= 100"),
        ("chat/completions", CHAT | {"presence_penalty": -3}, 400, "presence_penalty", ">= -2"),
        (
            "chat/completions",
            CHAT | {"repetition_penalty": 0},
            400,
            "repetition_penalty",
            ">= 0.01",
        ),
        ("chat/completions", CHAT | {"min_p": 1.5}, 400, "min_p", "<= 1"),
        ("chat/completions", CHAT | {"bad_words": [""]}, 400, "bad_words[0]", "length >= 1"),
        ("chat/completions", CHAT | {"priority": 1001}, 400, "priority", "<= 1000"),
        (
            "chat/completions",
            CHAT | {"response_format": {"type": "xml"}},
            400,
            "response_format.type",
            "Invalid value 'xml'",
        ),
        ("chat/completions", CHAT | {"frequency_penalty": 3}, 400, "frequency_penalty", "<= 2"),
        ("chat/completions", CHAT | {"surprise": 1}, 400, "surprise", "unknown field"),
        ("chat/completions", CHAT | {"max_tokens": "9"}, 400, "max_tokens", "Expected `int"),
        ("chat/completions", CHAT | {"max_tokens": 0}, 400, "max_tokens", ">= 1"),
        ("chat/completions", CHAT | {"temperature": 3}, 400, "temperature", "<= 2"),
        ("chat/completions", CHAT | {"top_p": 0}, 400, "top_p", "> 0"),
        ("chat/completions", CHAT | {"stop": [""]}, 400, "stop[0]", "length >= 1"),
        ("chat/completions", {"model": "tiny"}, 400, "messages", "missing required field"),
        ("chat/completions", CHAT | {"messages": []}, 400, "messages", "length >= 1"),
        (
            "chat/completions",
            CHAT | {"messages": [{"role": "robot", "content": "x"}]},
            400,
            "messages[0].role",
            "Invalid value 'robot'",
        ),
        (
            "chat/completions",
            CHAT | {"messages": [*CHAT["messages"], {"role": "system", "content": "x"}]},
            400,
            "messages",
            "system comes first",
        ),
        (
            "chat/completions",
            CHAT | {"max_tokens": 3, "max_completion_tokens": 3},
            400,
            "max_tokens",
            "give one",
        ),
        ("chat/completions", CHAT | {"stream_options": {}}, 400, "stream_options", "stream: true"),
        ("chat/completions", CHAT | {"model": "gpt"}, 404, "model", "'gpt' does not exist"),
        ("completions", COMPLETION | {"echo": True}, 400, "echo", "not supported"),
        ("completions", COMPLETION | {"suffix": "x"}, 400, "suffix", "not supported"),
        ("completions", COMPLETION | {"best_of": 2}, 400, "best_of", "not supported"),
        ("completions", COMPLETION | {"logprobs": 21}, 400, "logprobs", "<= 20"),
        ("completions", COMPLETION | {"prompt": ["a", "b"]}, 400, "prompt", "one text"),
        ("completions", COMPLETION | {"prompt": []}, 400, "prompt", "prompt is empty"),
        ("completions", COMPLETION | {"prompt": [260]}, 400, "prompt", "0 to 259"),
        ("completions", COMPLETION | {"prompt": [True]}, 400, "prompt", "one text"),
        (
            "completions",
            COMPLETION | {"prompt": [5] * 301},
            400,
            "prompt",
            "the engine's limit is 300",
        ),
        ("completions", COMPLETION | {"prompt": "x" * 5000}, 400, "prompt", "limit is 300"),
        (
            "completions",
            COMPLETION | {"max_tokens": 399},
            400,
            "max_tokens",
            "ask for at most 398",
        ),
        ("completions", COMPLETION | {"min_tokens": 17}, 400, "min_tokens", "above the 16"),
        ("nothing", {}, 404, None, "Not Found"),
    ],
)
def test_bad_input_is_named(shared_server, path, body, status, param, message):
    content = body if isinstance(body, str) else json.dumps(body)
    answer = shared_server.http.post(f"/v1/{path}", content=content)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param)
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"


def test_fields_that_ask_for_nothing_are_let_through(client):
    chat = client.chat.completions.create(
        **CHAT,
        temperature=0,
        max_tokens=2,
        n=1,
        logprobs=False,
        tools=[],
        frequency_penalty=0.0,
        response_format={"type": "text"},
        user="someone",
    )
    assert chat.usage.completion_tokens == 2


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that asks for keys and takes small bodies only."""
    folder = tmp_path_factory.mktemp("guarded")
    keys = folder / "keys"
    keys.write_text("# ours\nfirst-key\n\nsecond-key\n")
    flags = ("--api-keys-file", str(keys), "--max-body-bytes", "1000")
    server = start_server(folder / "server", flags, {})
    yield server
    server.kill()


def test_a_body_that_is_too_large(guarded):
    key = {"Authorization": "Bearer first-key"}
    answer = guarded.http.post("/v1/completions", content=b" " * 1001, headers=key)
    assert answer.status_code == 413
    assert "larger than 1000 bytes" in answer.json()["error"]["message"]


def test_api_keys(guarded):
    body = {"model": "tiny", "prompt": "x" * 200, "max_tokens": 2}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "first-key"}):
        answer = guarded.http.post("/v1/completions", json=body, headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "invalid_api_key"
    assert guarded.http.get("/health/ready").status_code == 200
    hits = []
    for key in ("first-key", "second-key", "first-key"):
        answer = guarded.http.post(
            "/v1/completions", json=body, headers={"Authorization": f"Bearer {key}"}
        )
        assert answer.status_code == 200
        hits.append(guarded.metric("nacelle_prefix_hit_tokens_total"))
    assert hits == [0, 0, 192], "one tenant's prefixes must not be found by another"
