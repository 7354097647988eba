"""Servers that draft: the same answers, counted drafts, and flags that are refused by name."""

import subprocess
import sys

import pytest
from serving import start_server
from tiny_bundle import seal

from nacelle_engine.result import parse_result

pytestmark = pytest.mark.slow
PROMPT = [40, 41, 42, 43]
KINDS = ["prompt-lookup", "draft"]


@pytest.fixture(scope="module", params=KINDS)
def drafting(request, tmp_path_factory):
    """A server that drafts by its text, or by another bundle of the same model."""
    folder = tmp_path_factory.mktemp(request.param)
    flags = ["--speculation", request.param, "--speculative-tokens", "3"]
    if request.param == "draft":
        flags += ["--draft-engine", str(seal(folder / "draft"))]
    # Beside its steps the draft's, and the tokens of a step, cost nothing.
    server = start_server(folder / "server", flags, {"step_seconds": 0.01})
    server.kind = request.param
    yield server
    server.kill()


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    server = start_server(tmp_path_factory.mktemp("plain"), (), {})
    yield server
    server.kill()


def ask(server, **fields):
    body = {"model": "tiny", "prompt": PROMPT, "max_tokens": 60, "ignore_eos": True} | fields
    return server.http.post("/v1/completions", json=body).json()["choices"]


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0},
        {"temperature": 0, "logprobs": 2},
        {"temperature": 1.1, "top_p": 0.9, "seed": 5},
        {"temperature": 1.1, "n": 3, "seed": 5},
        {"temperature": 0.8, "seed": 2, "presence_penalty": 0.7, "bad_words": ["ab"]},
        {"temperature": 0, "ignore_eos": False, "min_tokens": 20},
        {"temperature": 0, "stop": ["z"]},
        {"temperature": 0, "structured_outputs": {"regex": "[a-f]{9,20}"}, "ignore_eos": False},
        {"temperature": 0, "echo": False, "prompt_logprobs": 1},
    ],
)
def test_answers_are_those_of_a_server_that_does_not_draft(drafting, plain, fields):
    assert ask(drafting, **fields) == ask(plain, **fields)


def test_a_stream_gives_the_same_text(drafting):
    with drafting.openai() as client:
        parts = client.completions.create(
            model="tiny",
            prompt=PROMPT,
            max_tokens=40,
            temperature=0,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        text = "".join(part.choices[0].text for part in parts if part.choices)
    assert text == ask(drafting, temperature=0, max_tokens=40)[0]["text"]
    assert len(text) == 40


def test_drafted_and_accepted_tokens_are_told(drafting):
    """How many there are depends on what steps took at start, and so on the machine."""

    def told():
        return [
            drafting.metric(f"nacelle_{name}_tokens_total", acceptance="measured")
            for name in ("drafted", "accepted")
        ]

    # Requests before this one may have had penalties, which the draft engine leaves out.
    before = told()
    ask(drafting, temperature=0)
    drafted, accepted = (now - then for now, then in zip(told(), before, strict=True))
    assert drafted >= accepted
    if drafting.kind == "draft":
        assert accepted == drafted
    assert "nacelle_draft_acceptance_rate" in drafting.http.get("/metrics").text
    assert f"drafts    {drafting.kind}, at most 3 tokens" in drafting.errors.read_text()


def test_synthetic_acceptance_says_so_wherever_it_shows(serve):
    flags = ("--speculation", "prompt-lookup", "--synthetic-acceptance", "0.7")
    server = serve(*flags, step_seconds=0.01)
    answer = ask(server, temperature=0, max_tokens=200)[0]
    assert answer["finish_reason"] == "length"
    assert 'nacelle_drafted_tokens_total{acceptance="synthetic"' in server.http.get("/metrics").text
    assert server.errors.read_text().count("SYNTHETIC acceptance 0.7: answers mean nothing") == 2


REFUSED = [
    (["--draft-engine", "x"], "--draft-engine: choose --speculation prompt-lookup or draft too"),
    (
        ["--speculative-tokens", "3"],
        "--speculative-tokens: choose --speculation prompt-lookup or draft too",
    ),
    (
        ["--synthetic-acceptance", "0.5"],
        "--synthetic-acceptance: choose --speculation prompt-lookup or draft too",
    ),
    (
        ["--speculation", "draft"],
        "--speculation draft: --draft-engine must name the bundle that drafts",
    ),
    (
        ["--speculation", "prompt-lookup", "--draft-engine", "x"],
        "--draft-engine: only --speculation draft takes one",
    ),
]


def refused(bundle, *flags):
    """What `nacelle serve` says when it does not start."""
    command = [sys.executable, "-m", "nacelle_cli.main", "serve", str(bundle), "--port", "0"]
    log = bundle.parent / "log.json"
    done = subprocess.run(
        [*command, "--termination-log", str(log), *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    return parse_result(log.read_text()).failure.message


@pytest.mark.parametrize(("flags", "message"), REFUSED)
def test_flags_that_do_not_go_together_are_refused_by_name(tmp_path, flags, message):
    assert refused(seal(tmp_path / "bundle"), *flags) == message


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"max_seq_len": 350},
            "it was built for sequences of 350 tokens, the engine for 400; build it with the "
            "engine's maxSeqLen",
        ),
        (
            {"max_batch_size": 4},
            "it was built for 4 requests a step, not 8; lower --max-batch-size",
        ),
    ],
)
def test_a_draft_engine_that_does_not_fit_is_refused(tmp_path, limits, message):
    draft = seal(tmp_path / "draft", **limits)
    found = refused(
        seal(tmp_path / "bundle"), "--speculation", "draft", "--draft-engine", str(draft)
    )
    assert found == f"--draft-engine {draft}: {message}"
