"""Each sampling field through OpenAI's own client, against the tiny model's own logits."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_bundle import EOS
from tiny_program import TinyProgram

pytestmark = pytest.mark.slow
MODEL = TinyProgram()
PROMPT = [40, 41, 42]
LONG = [n % 94 for n in range(70)]
COUNT = 24
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


def text_of(tokens):
    return "".join(chr(33 + token) for token in tokens)


def ids_of(text):
    return [ord(character) - 33 for character in text]


@pytest.fixture(scope="module")
def client(shared_server):
    with shared_server.openai() as client:
        yield client


def complete(client, extra=None, **fields):
    return client.completions.create(
        **({"model": "tiny", "prompt": PROMPT, "temperature": 0, "max_tokens": COUNT} | fields),
        extra_body={"ignore_eos": True} | (extra or {}),
    )


def text(client, extra=None, **fields):
    return complete(client, extra, **fields).choices[0].text


def greedy(change=lambda logits, answer: logits, prompt=PROMPT):
    """The greedy answer when `change` is made to every token's logits."""
    tokens = list(prompt)
    while len(tokens) < len(prompt) + COUNT:
        logits = change(MODEL.reference(tokens)[-1].clone(), tokens[len(prompt) :])
        tokens.append(int(logits.argmax()))
    return text_of(tokens[len(prompt) :])


def own(tokens):
    """The model's log-probabilities after each token."""
    return torch.log_softmax(MODEL.reference(tokens).double(), dim=-1)


def test_a_bias_makes_or_forbids_a_token(client):
    assert text(client, logit_bias={"7": 100}) == text_of([7] * COUNT)
    first = ids_of(greedy())[0]
    forbidden = text(client, logit_bias={str(first): -100})
    assert chr(33 + first) not in forbidden
    assert forbidden == greedy(lambda logits, _: bias(logits, {first: -100}))


def bias(logits, values):
    for token, value in values.items():
        logits[token] += value
    return logits


def penalise(logits, answer, repetition=1.0, presence=0.0, frequency=0.0):
    for token in {*PROMPT, *answer}:
        value = logits[token]
        logits[token] = value / repetition if value > 0 else value * repetition
    for token in set(answer):
        logits[token] -= presence + frequency * answer.count(token)
    return logits


@pytest.mark.parametrize(
    "values",
    [
        {"repetition": 1.8},
        {"presence": 2.0},
        {"frequency": 2.0},
        {"repetition": 1.2, "presence": 0.5, "frequency": 1.1},
    ],
)
def test_penalties_change_the_answer_as_their_formula_says(client, values):
    wanted = greedy(lambda logits, answer: penalise(logits, answer, **values))
    assert wanted != greedy(), "the penalty changes nothing here"
    extra = {"repetition_penalty": values.get("repetition", 1.0)}
    fields = {f"{name}_penalty": values.get(name, 0.0) for name in ("presence", "frequency")}
    assert text(client, extra, **fields) == wanted


def test_min_p_one_is_greedy_at_any_temperature(client):
    assert text(client, {"min_p": 1.0}, temperature=2) == greedy()
    assert text(client, temperature=2, seed=1) != greedy()


def test_bad_words_of_one_token_and_of_several(client):
    plain = greedy()
    banned = ids_of(plain)[3]
    one = text(client, {"bad_words": [plain[3]]})
    assert one == greedy(lambda logits, _: bias(logits, {banned: -torch.inf}))
    several = text(client, {"bad_words": [plain[4:7]]})
    assert plain[4:7] not in several
    assert several[:6] == plain[:6], "only the word's last token is forbidden"


def test_the_choices_of_n_are_those_of_the_seeds_that_follow(client):
    answer = complete(client, temperature=1.3, seed=11, n=3, prompt=LONG)
    alone = [text(client, temperature=1.3, seed=11 + i, prompt=LONG) for i in range(3)]
    assert [choice.text for choice in answer.choices] == alone
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len(set(alone)) == 3
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(LONG), 3 * COUNT)


def test_the_choices_share_the_prompts_blocks(client, shared_server):
    prompt = [(5 * n) % 94 for n in range(130)]
    before = shared_server.metric("nacelle_prefix_hit_tokens_total")
    complete(client, temperature=1, n=4, prompt=prompt)
    assert shared_server.metric("nacelle_prefix_hit_tokens_total") - before == 3 * 128


def test_streamed_choices_are_told_apart_by_their_index(client):
    fields = {"temperature": 1.3, "seed": 11, "n": 3, "prompt": LONG}
    whole = complete(client, **fields)
    texts, ends = ["", "", ""], {}
    chunks = complete(client, **fields, stream=True, stream_options={"include_usage": True})
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            if choice.finish_reason:
                ends[choice.index] = choice.finish_reason
        usage = chunk.usage
    assert texts == [choice.text for choice in whole.choices]
    assert ends == {0: "length", 1: "length", 2: "length"}
    assert usage.completion_tokens == 3 * COUNT


def test_choices_of_a_chat(client):
    fields = {**CHAT, "max_completion_tokens": 9, "seed": 3, "n": 2}
    whole = client.chat.completions.create(**fields)
    texts, roles = ["", ""], []
    for chunk in client.chat.completions.create(**fields, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            roles += [choice.index] if choice.delta.role else []
    assert texts == [choice.message.content for choice in whole.choices]
    assert sorted(roles) == [0, 1]


def test_a_completions_log_probabilities(client):
    answer = complete(client, logprobs=3).choices[0]
    told, tokens = answer.logprobs, ids_of(answer.text)
    wanted = own(PROMPT + tokens)[len(PROMPT) - 1 : -1]
    assert told.tokens == list(answer.text)
    assert told.text_offset == list(range(COUNT))
    assert told.token_logprobs == pytest.approx(
        [wanted[n, t].item() for n, t in enumerate(tokens)], abs=1e-4
    )
    for n, rivals in enumerate(told.top_logprobs):
        best = wanted[n].topk(3)
        assert rivals == pytest.approx(
            {
                chr(33 + i): v
                for i, v in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            },
            abs=1e-4,
        )


def test_log_probabilities_are_of_the_model_whatever_the_sampling(client):
    answer = complete(client, logprobs=0, logit_bias={"7": 100}).choices[0]
    wanted = own([*PROMPT, *[7] * COUNT])[len(PROMPT) - 1 : -1, 7]
    assert answer.logprobs.token_logprobs == pytest.approx(wanted.tolist(), abs=1e-4)


def test_a_streamed_completions_log_probabilities_are_those_of_the_whole(client):
    whole = complete(client, logprobs=2).choices[0].logprobs
    tokens, values, offsets = [], [], []
    for chunk in complete(client, logprobs=2, stream=True):
        told = chunk.choices[0].logprobs
        tokens += told.tokens
        values += told.token_logprobs
        offsets += told.text_offset
    assert (tokens, values, offsets) == (whole.tokens, whole.token_logprobs, whole.text_offset)


def test_a_chats_log_probabilities(client):
    fields = {**CHAT, "temperature": 0, "max_tokens": 6, "logprobs": True, "top_logprobs": 2}
    choice = client.chat.completions.create(**fields).choices[0]
    content = choice.logprobs.content
    assert "".join(one.token for one in content) == choice.message.content
    for one in content:
        assert one.bytes == list(one.token.encode())
        assert one.top_logprobs[0].logprob == one.logprob >= one.top_logprobs[1].logprob
    streamed = [
        one
        for chunk in client.chat.completions.create(**fields, stream=True)
        for one in (chunk.choices[0].logprobs.content if chunk.choices[0].logprobs else [])
    ]
    assert streamed == content


def test_the_id_that_ends_an_answer_is_not_told(client):
    answer = client.completions.create(
        model="tiny", prompt=[1], temperature=0, max_tokens=60, logprobs=1
    ).choices[0]
    assert answer.finish_reason == "stop"
    assert "".join(answer.logprobs.tokens) == answer.text
    assert chr(33 + EOS) not in answer.logprobs.tokens


@pytest.mark.parametrize("repeat", ["cold", "when its blocks are in the cache"])
def test_a_prompts_log_probabilities(client, repeat):
    answer = complete(client, {"prompt_logprobs": 2}, prompt=LONG, max_tokens=2)
    told = answer.choices[0].prompt_logprobs
    wanted = own(LONG)
    assert told[0] is None
    assert len(told) == len(LONG)
    for n, entry in enumerate(told[1:]):
        token = LONG[n + 1]
        assert entry[str(token)]["logprob"] == pytest.approx(wanted[n, token].item(), abs=1e-4)
        assert entry[str(token)]["rank"] == int((wanted[n] > wanted[n, token]).sum()) + 1
        assert entry[str(token)]["decoded_token"] == chr(33 + token)
        assert {int(i) for i in entry} == {token, *wanted[n].topk(2).indices.tolist()}


def test_a_higher_priority_is_served_before_earlier_requests(serve):
    server = serve("--max-batch-size", "1", step_seconds=0.02)
    ended = []

    def ask(name, priority, count):
        body = {"model": "tiny", "prompt": PROMPT, "max_tokens": count, "ignore_eos": True}
        answer = server.http.post("/v1/completions", json=body | {"priority": priority})
        assert answer.status_code == 200
        ended.append(name)

    with ThreadPoolExecutor(3) as pool:
        pool.submit(ask, "running", 0, 60)
        server.until(lambda: server.metric("nacelle_requests_running") == 1)
        pool.submit(ask, "low", -1, 5)
        server.until(lambda: server.metric("nacelle_requests_waiting") == 1)
        pool.submit(ask, "high", 5, 5)
    assert ended == ["running", "high", "low"]


def test_max_utilization_puts_back_and_answers_as_alone(serve):
    flags = ("--scheduler-policy", "MAX_UTILIZATION", "--kv-cache-blocks", "7")
    server = serve(*flags, "--no-prefix-caching")
    prompts = [[(7 * n + i) % 94 for i in range(20)] for n in range(6)]
    with server.openai() as client, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda p: text(client, prompt=p, max_tokens=90), prompts))
    assert answers == [text_of(MODEL.greedy(p, 90)) for p in prompts]
    assert server.metric("nacelle_preemptions_total") > 0


def test_whole_prompts_are_bounded_by_a_step(serve):
    server = serve("--no-chunked-prefill")
    body = {"model": "tiny", "prompt": [5] * 129, "max_tokens": 2}
    answer = server.http.post("/v1/completions", json=body)
    assert answer.status_code == 400
    assert "the engine's limit is 128" in answer.json()["error"]["message"]
    assert server.http.post("/v1/completions", json=body | {"prompt": [5] * 128}).status_code == 200
