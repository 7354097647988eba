"""A real Triton server beside `nacelle serve`: the same core answers both."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from serving import launch, start_server
from tiny_bundle import EOS
from tiny_program import TinyProgram
from triton_client import Stream
from triton_server import TritonServer
from tritonclient.utils import InferenceServerException

from nacelle_cli.main import main

pytestmark = pytest.mark.slow
MODEL = TinyProgram()
PROMPT = [40, 41, 42]
TEXT_MODELS = ["ensemble", "tensorrt_llm_bls"]


def text_of(tokens):
    return "".join(chr(33 + token) for token in tokens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("triton")


def start_core(folder, socket, *flags, step_seconds=0.002):
    flags = ("--core-socket", str(socket), *flags)
    return start_server(folder, flags, {"step_seconds": step_seconds})


@pytest.fixture(scope="module")
def core(folder):
    """A core with its OpenAI frontend."""
    server = start_core(folder / "core", folder / "core.sock")
    yield server
    server.kill()


@pytest.fixture(scope="module")
def triton(folder, core):
    """A Triton server over the same core."""
    write_repository(folder / "core" / "bundle", folder / "repository", folder / "core.sock")
    server = TritonServer(folder / "repository", folder).wait_until_ready()
    yield server
    server.end()


def write_repository(bundle, repository, socket):
    packages = [p for p in core_packages() if p.endswith(("engine", "runtime_image"))]
    flags = [flag for path in packages for flag in ("--packages", path)]
    assert main(["triton", str(bundle), str(repository), "--core-socket", str(socket), *flags]) == 0


def core_packages():
    """Where this process finds the code under test."""
    import nacelle_engine
    import nacelle_runtime

    return [next(iter(p.__path__)).rsplit("/", 1)[0] for p in (nacelle_engine, nacelle_runtime)]


@pytest.fixture
def stream(triton):
    stream = Stream(f"localhost:{triton.grpc}")
    yield stream
    stream.close(cancel=True)


def openai(core, **fields):
    body = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "max_tokens": 16} | fields
    return core.http.post("/v1/completions", json=body).json()["choices"][0]


def text(asked, model="ensemble", **fields):
    """The whole text of an answer to PROMPT."""
    given = {
        "text_input": text_of(PROMPT).encode(),
        "max_tokens": 16,
        "exclude_input_in_output": True,
    }
    found = asked.responses(model, **(given | fields))
    return "".join(values["text_output"][0].decode() for values in found)


def ids(stream, **fields):
    """The ids of an answer to PROMPT."""
    given = {
        "input_ids": PROMPT,
        "input_lengths": 3,
        "request_output_len": 16,
        "exclude_input_in_output": True,
    }
    found = stream.responses("tensorrt_llm", **(given | fields))
    return [token for values in found for token in values["output_ids"]]


def test_the_three_models_are_served(triton):
    client = tritonclient.http.InferenceServerClient(f"localhost:{triton.http}")
    index = {one["name"]: one["state"] for one in client.get_model_repository_index()}
    assert index == dict.fromkeys([*TEXT_MODELS, "tensorrt_llm"], "READY")
    metadata = client.get_model_metadata("ensemble")
    assert {"text_input", "max_tokens", "stop_words", "bad_words", "seed", "stream"} <= {
        one["name"] for one in metadata["inputs"]
    }
    assert metadata["outputs"][0] == {"name": "text_output", "datatype": "BYTES", "shape": [-1, -1]}
    client.close()


SAMPLED = [
    {},
    {"temperature": 0.5, "seed": 7},
    {"top_k": 5, "seed": 8},
    {"top_p": 0.75, "temperature": 2.0, "seed": 9},
    {"temperature": 0.0, "repetition_penalty": 1.5},
    {"temperature": 1.5, "presence_penalty": 0.5, "seed": 1},
]


@pytest.mark.parametrize("fields", SAMPLED, ids=str)
def test_the_tokens_are_those_of_the_openai_api(core, stream, fields):
    # Nothing said is greedy in TensorRT-LLM, and temperature 1 where only top_k or top_p is.
    said = {"temperature": 1.0 if fields.keys() & {"top_k", "top_p"} else 0.0} | fields
    expected = openai(core, **said)["text"]
    for model in TEXT_MODELS:
        assert text(stream, model, **fields) == expected
    renamed = {"top_k": "runtime_top_k", "top_p": "runtime_top_p"}
    assert text_of(ids(stream, **{renamed.get(k, k): v for k, v in fields.items()})) == expected


@pytest.mark.parametrize("model", TEXT_MODELS)
def test_a_stream_gives_the_whole_in_pieces(core, stream, model):
    found = stream.responses(model, text_input=text_of(PROMPT).encode(), max_tokens=30, stream=True)
    # A busy machine hands over some tokens together.
    assert len(found) > 5
    assert (
        b"".join(v["text_output"][0] for v in found).decode() == openai(core, max_tokens=30)["text"]
    )


def test_a_stream_of_ids(stream):
    given = {"input_ids": PROMPT, "input_lengths": 3, "request_output_len": 30, "streaming": True}
    found = stream.responses("tensorrt_llm", **given)
    assert len(found) > 5
    assert all(v["sequence_length"] == [len(v["output_ids"])] for v in found)
    assert [token for v in found for token in v["output_ids"]] == MODEL.greedy(PROMPT, 30)


def test_an_answer_in_one_begins_with_its_prompt_unless_told_otherwise(stream):
    answer = MODEL.greedy(PROMPT, 16)
    assert text(stream, exclude_input_in_output=False) == text_of(PROMPT + answer)
    assert ids(stream, exclude_input_in_output=False) == PROMPT + answer
    assert ids(stream, input_ids=[*PROMPT, 0, 0]) == answer, "what fills the tensor counted"


def test_generate_over_http(core, triton):
    url = f"http://localhost:{triton.http}/v2/models/ensemble"
    body = {"text_input": text_of(PROMPT), "max_tokens": 16, "bad_words": "", "stop_words": ""}
    answer = httpx.post(f"{url}/generate", json=body | {"id": "mine"}).json()
    expected = openai(core)["text"]
    assert (answer["text_output"], answer["id"]) == (text_of(PROMPT) + expected, "mine")
    streamed = httpx.post(f"{url}/generate_stream", json=body | {"stream": True}).text
    events = [line.removeprefix("data: ") for line in streamed.splitlines() if line]
    assert len(events) > 5
    assert "".join(json.loads(event)["text_output"] for event in events) == expected


def test_an_end_id_ends_an_answer_and_is_not_shown(stream):
    whole = MODEL.greedy([1], 60, (EOS,))
    assert whole[-1] == EOS
    assert ids(stream, input_ids=[1], input_lengths=1, request_output_len=60) == whole[:-1]
    other = whole[4]
    assert ids(stream, input_ids=[1], input_lengths=1, end_id=other) == whole[: whole.index(other)]


def test_stop_words(stream):
    whole = MODEL.greedy(PROMPT, 16)
    stop = whole[6:9]
    expected = whole[: next(i for i in range(16) if whole[i : i + 3] == stop)]
    for streamed in (False, True):
        assert text(stream, stop_words=[b"none", text_of(stop).encode()], stream=streamed) == (
            text_of(expected)
        )
        words = [[3, 3, *stop], [2, 5, -1, -1, -1]]
        assert ids(stream, stop_words_list=words, streaming=streamed) == expected


def test_bad_words(core, stream):
    bad = MODEL.greedy(PROMPT, 16)[3]
    expected = openai(core, bad_words=[text_of([bad])])["text"]
    assert expected != openai(core)["text"]
    assert text(stream, bad_words=[text_of([bad]).encode()]) == expected
    assert text_of(ids(stream, bad_words_list=[[bad], [1]])) == expected


def test_biases(core, stream):
    expected = openai(core, logit_bias={"7": 5, "9": 5})["text"]
    assert expected != openai(core)["text"]
    words = {"embedding_bias_words": [text_of([7, 9]).encode()], "embedding_bias_weights": [5]}
    assert text(stream, **words) == expected
    bias = np.zeros(260)
    bias[[7, 9]] = 5
    assert text_of(ids(stream, embedding_bias=bias)) == expected


@pytest.mark.parametrize("streamed", [False, True])
def test_log_probs(core, stream, streamed):
    expected = openai(core, logprobs=0)["logprobs"]["token_logprobs"]
    fields = {"max_tokens": 16, "stream": streamed, "return_log_probs": True}
    found = stream.responses("ensemble", text_input=text_of(PROMPT).encode(), **fields)
    assert np.allclose([x for v in found for x in v["output_log_probs"]], expected, atol=1e-5)
    assert np.isclose(found[-1]["cum_log_probs"][0], sum(expected), atol=1e-4)
    given = {"input_ids": PROMPT, "input_lengths": 3, "request_output_len": 16}
    found = stream.responses("tensorrt_llm", **given, streaming=streamed, return_log_probs=True)
    assert np.allclose([x for v in found for x in v["output_log_probs"]], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"max_tokens": 0}, "INVALID_ARGUMENT", "Expected `int` >= 1 - at `max_tokens`"),
        ({"max_tokens": 4000}, "INVALID_ARGUMENT", "a sequence has at most 400"),
        ({"top_p": 1.5}, "INVALID_ARGUMENT", "at `top_p`"),
        ({"temperature": float("nan")}, "INVALID_ARGUMENT", "temperature must be finite"),
        ({"text_input": b""}, "INVALID_ARGUMENT", "the prompt is empty"),
        ({"text_input": b"\xff\xfe"}, "INVALID_ARGUMENT", "text_input is not UTF-8"),
        ({"text_input": b"x" * 20000}, "INVALID_ARGUMENT", "text_input has at least"),
        ({"min_tokens": 17}, "INVALID_ARGUMENT", "min_tokens is above the 16"),
        ({"end_id": 260}, "INVALID_ARGUMENT", "token ids must lie in 0 to 259"),
        ({"beam_width": 2}, "UNIMPLEMENTED", "beam_width 2 is not supported"),
        ({"return_context_logits": True}, "UNIMPLEMENTED", "return_context_logits True is not"),
    ],
    ids=str,
)
@pytest.mark.parametrize("model", TEXT_MODELS)
def test_what_cannot_be_is_named_in_tritons_form(stream, model, fields, status, message):
    with pytest.raises(InferenceServerException, match=message) as found:
        text(stream, model, **fields)
    assert found.value.status() is None or status in found.value.status()
    assert text(stream, model) == text_of(MODEL.greedy(PROMPT, 16)), "the stream has ended"


def test_what_is_not_declared_is_named_too(triton, stream):
    with pytest.raises(InferenceServerException, match="unexpected inference input 'lora_task_id'"):
        text(stream, lora_task_id=1)
    url = f"http://localhost:{triton.http}/v2/models/ensemble/generate"
    body = {"text_input": "x", "max_tokens": 2}
    for wrong, status in (({"lora_task_id": 1}, 400), ({"beam_width": 2}, 400), ({}, 200)):
        answer = httpx.post(url, json=body | wrong)
        assert answer.status_code == status
        assert all(name in answer.text for name in wrong)


LONG = {"max_tokens": 380, "end_id": 99, "stream": True}


def cancelled(core):
    return core.metric("nacelle_requests_total", outcome="cancelled")


@pytest.mark.parametrize("model", TEXT_MODELS)
def test_a_cancelled_request_is_cancelled_in_the_core(core, triton, model):
    before = cancelled(core)
    leaving = Stream(f"localhost:{triton.grpc}")
    leaving.ask(model, text_input=b"x", **LONG)
    leaving.next()
    leaving.close(cancel=True)
    core.until(lambda: cancelled(core) == before + 1)
    core.until(lambda: core.metric("nacelle_kv_blocks_used") == 0)


def test_a_client_of_generate_stream_that_leaves(core, triton):
    before = cancelled(core)
    url = f"http://localhost:{triton.http}/v2/models/tensorrt_llm_bls/generate_stream"
    with httpx.stream("POST", url, json={"text_input": "x", **LONG}) as answer:
        next(answer.iter_lines())
    core.until(lambda: core.metric("nacelle_kv_blocks_used") == 0)
    assert cancelled(core) - before <= 1


def test_a_request_with_stop_ends_the_one_of_its_id(stream):
    given = {"input_ids": PROMPT, "input_lengths": 3, "request_output_len": 380, "end_id": 99}
    stream.ask("tensorrt_llm", request_id="7", streaming=True, **given)
    first, _ = stream.next()
    stream.ask("tensorrt_llm", request_id="7", stop=True, **given)
    shown, finals = first["output_ids"], 0
    while finals < 2:
        values, final = stream.next()
        shown += values.get("output_ids", [])
        finals += final
    assert 0 < len(shown) < 380
    assert shown == MODEL.greedy(PROMPT, len(shown))


def test_a_socket_in_use_is_not_taken(folder, core, tmp_path):
    bundle, socket = folder / "core" / "bundle", folder / "core.sock"
    second = launch(bundle, tmp_path, ("--core-socket", str(socket)))
    assert second.process.wait(30) == 65
    assert f"--core-socket {socket}: another server listens there" in second.errors.read_text()
    assert openai(core)["text"]


def test_many_at_once_share_steps(core, triton):
    prompts = [[(7 * n + i) % 94 for i in range(1 + 9 * n)] for n in range(8)]

    def answer(prompt):
        one = Stream(f"localhost:{triton.grpc}")
        try:
            return text(one, text_input=text_of(prompt).encode(), max_tokens=30, end_id=99)
        finally:
            one.close()

    before = core.metric("nacelle_steps_total")
    with ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(answer, prompts))
    assert texts == [text_of(MODEL.greedy(p, 30)) for p in prompts]
    assert core.metric("nacelle_steps_total") - before < 8 * 30 / 2


def test_metrics_are_beside_tritons_own(core, triton, stream):
    requests = "nv_trt_llm_request_metrics"
    name, labels = "nv_trt_llm_kv_cache_block_metrics", {"model": "tensorrt_llm", "version": "1"}
    assert text(stream, "tensorrt_llm_bls", max_tokens=101)
    core.until(lambda: triton.metric("nacelle_generated_tokens_total", model="tiny") > 100)
    core.until(lambda: triton.metric("nv_inference_request_success", model="tensorrt_llm_bls") > 0)
    assert triton.metric(name, kv_cache_block_type="tokens_per", **labels) == 32
    for kind, value in (("waiting", 0), ("scheduled", 0), ("context", 0), ("max", 8)):
        core.until(lambda k=kind, v=value: triton.metric(requests, request_type=k, **labels) == v)
        assert core.metric(requests, request_type=kind) == value
    blocks = core.metric("nacelle_kv_blocks_total")
    assert core.metric("vllm:cache_config_info", num_gpu_blocks=int(blocks), block_size=32) == 1


def test_a_running_answer_comes_whole_when_both_are_told_to_end(tmp_path):
    """As in a pod that is to go: both get SIGTERM at the same time."""
    socket, repository = tmp_path / "c.sock", tmp_path / "repository"
    core = start_core(tmp_path / "core", socket, "--drain-seconds", "30", step_seconds=0.02)
    write_repository(tmp_path / "core" / "bundle", repository, socket)
    triton = TritonServer(repository, tmp_path, exit_seconds=30)
    try:
        stream = Stream(f"localhost:{triton.wait_until_ready().grpc}")
        given = {"input_ids": PROMPT, "input_lengths": 3, "request_output_len": 200, "end_id": 99}
        stream.ask("tensorrt_llm", streaming=True, **given)
        values, final = stream.next()
        shown = values["output_ids"]
        for process in (core.process, triton.process):
            process.send_signal(signal.SIGTERM)
        while not final:
            values, final = stream.next()
            shown += values.get("output_ids", [])
        stream.close()
        assert shown == MODEL.greedy(PROMPT, 200)
        assert [process.wait(30) for process in (core.process, triton.process)] == [0, 0]
    finally:
        triton.end()
        core.kill()


def test_a_core_that_goes_is_named_and_one_that_comes_is_found(folder, core, stream):
    assert core.end() == 0
    with pytest.raises(InferenceServerException, match=r"no core is ready at .*core\.sock"):
        text(stream)
    # Slow steps: the answer that is broken off below takes seconds, however loaded the machine is.
    again = start_core(folder / "again", folder / "core.sock", step_seconds=0.02)
    try:
        again.until(lambda: _answers(stream))
        assert text(stream) == text_of(MODEL.greedy(PROMPT, 16))
        stream.ask("tensorrt_llm_bls", text_input=b"x", **LONG)
        stream.next()
        os.kill(again.children()["core"], signal.SIGKILL)
        with pytest.raises(InferenceServerException, match="the core has ended"):
            _to_the_end(stream)
    finally:
        again.kill()


def _to_the_end(stream):
    final = False
    while not final:
        _, final = stream.next()


def _answers(stream):
    try:
        text(stream)
    except InferenceServerException:
        return False
    return True
