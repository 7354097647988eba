"""A Triton server in a deployment's pods: its clients get what the OpenAI API's clients get."""

import json

import pytest
import tritonclient.http
from forwarded import forwarded
from resources import deployment, engine_build
from tokenizers import Tokenizer
from triton_client import Stream

from nacelle_demo.question import Endpoint
from nacelle_demo.waiting import wait_for
from nacelle_images.spec import TRITON

pytestmark = pytest.mark.e2e
BUILD_SECONDS = 600.0
READY_SECONDS = 180.0
PROMPT = "The quick brown fox jumps over"
TOKENS = 24
HTTP, GRPC, METRICS = 8003, 8001, 8002


@pytest.fixture(scope="module")
def served(place, stack):
    """The tiny model with a Triton server, on the engine that other tests build too."""
    place.apply(engine_build("triton", "tiny"))
    image = stack.publisher.publish((TRITON,))[TRITON.name]
    triton = {"enabled": True, "httpPort": HTTP, "image": image}
    place.apply(deployment("triton", "triton", frontends={"triton": triton}))
    place.until_ready("enginebuild", "triton", BUILD_SECONDS)
    yield place.until_ready("inferencedeployment", "triton", READY_SECONDS)
    place.delete("inferencedeployment", "triton")
    place.delete("enginebuild", "triton")


@pytest.fixture(scope="module")
def expected(place, served, stack):
    """The OpenAI API's greedy answer."""
    body = {"model": "tiny", "prompt": PROMPT, "temperature": 0, "max_tokens": TOKENS}
    answer = endpoint(place, stack, 8000).open("/v1/completions", body)
    assert answer.status == 200
    return json.loads(answer.data)["choices"][0]["text"]


def endpoint(place, stack, port):
    return Endpoint(stack.cluster.kubeconfig, place.namespace, "triton", port)


def test_a_stream_of_grpc_and_an_answer_over_http_are_the_openai_apis(
    place, stack, expected, checkpoints
):
    tokenizer = Tokenizer.from_file(str(checkpoints["tiny"] / "tokenizer.json"))
    ids = tokenizer.encode(PROMPT).ids
    with forwarded(stack.kubectl, place.namespace, "triton", GRPC, HTTP) as (grpc, http):
        client = tritonclient.http.InferenceServerClient(f"localhost:{http}")
        index = {one["name"]: one["state"] for one in client.get_model_repository_index()}
        assert index == dict.fromkeys(["ensemble", "tensorrt_llm_bls", "tensorrt_llm"], "READY")
        client.close()
        stream = Stream(f"localhost:{grpc}")
        asked = {"text_input": PROMPT.encode(), "max_tokens": TOKENS, "stream": True}
        pieces = stream.responses("ensemble", **asked)
        found = stream.responses(
            "tensorrt_llm",
            input_ids=ids,
            input_lengths=len(ids),
            request_output_len=TOKENS,
            streaming=True,
        )
        stream.close()
    assert len(pieces) > 3
    assert b"".join(piece["text_output"][0] for piece in pieces).decode() == expected
    tokens = [token for values in found for token in values["output_ids"]]
    assert tokenizer.decode(tokens) == expected
    body = {"text_input": PROMPT, "max_tokens": TOKENS, "bad_words": "", "stop_words": ""}
    answer = endpoint(place, stack, HTTP).open("/v2/models/ensemble/generate", body)
    assert json.loads(answer.data)["text_output"] == PROMPT + expected


def test_the_cores_figures_are_among_tritons(place, stack, expected):
    def text():
        return endpoint(place, stack, METRICS).open("/metrics").data.decode()

    def told():
        found = text()
        return "nacelle_generated_tokens_total{" in found and found

    figures = wait_for("the core's figures", told, deadline=10)
    assert 'nv_inference_request_success{model="ensemble"' in figures
    assert 'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per"' in figures
