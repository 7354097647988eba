"""Requests as OpenTelemetry spans: a real exporter, and a collector that reads real OTLP."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otlp_receiver import receiving, values
from serving import launch
from tiny_bundle import seal

from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.commands.traces import traces_wanted

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ASKED = {"model": "tiny", "prompt": [40, 41, 42], "max_tokens": 5, "temperature": 0}
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture
def collector():
    with receiving() as found:
        yield found


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """Starts servers whose environment has these OTEL_ variables."""
    servers = []

    def start(*flags, step_seconds=0.0, **variables):
        for name, value in (QUICK | variables).items():
            monkeypatch.setenv(name, value)
        folder = tmp_path / f"server{len(servers)}"
        bundle = seal(folder / "bundle", step_seconds=step_seconds)
        servers.append(launch(bundle, folder, flags or ("--traces", "otlp")))
        return servers[-1].wait_until_ready()

    yield start
    for server in servers:
        server.kill()


def ask(server, path="/v1/completions", headers=None, **fields):
    body = ASKED | {"ignore_eos": True} | fields
    return server.http.post(path, json=body, headers=headers)


def continued(flags="01"):
    return {"traceparent": f"00-{TRACE}-{PARENT}-{flags}", "x-request-id": "mine"}


@pytest.mark.slow
def test_a_request_is_a_span_with_the_phases_of_its_answer(traced, collector):
    receiver, url = collector
    server = traced(
        step_seconds=0.01, OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_HEADERS="api-key=k"
    )
    before = time.time_ns()
    assert ask(server, headers=continued(), seed=3, stop=["~~"]).status_code == 200
    (span,) = receiver.named("text_completion tiny")
    after = time.time_ns()
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert before <= span.start_time_unix_nano < span.end_time_unix_nano <= after
    told = values(span.attributes)
    assert told.pop("gen_ai.response.id").startswith("cmpl-")
    assert told.pop("user_agent.original").startswith("python-httpx/")
    assert told.pop("server.port") == int(server.url.rsplit(":", 1)[1])
    assert told == {
        "http.request.method": "POST",
        "http.route": "/v1/completions",
        "http.response.status_code": 200,
        "url.path": "/v1/completions",
        "url.scheme": "http",
        "server.address": "127.0.0.1",
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "nacelle",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ["~~"],
        "gen_ai.response.finish_reasons": ["length"],
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 5,
        "nacelle.request.id": "mine",
    }
    queue, prefill, decode = receiver.children(span)
    assert [one.name for one in (queue, prefill, decode)] == ["queue", "prefill", "decode"]
    assert {one.trace_id.hex() for one in (queue, prefill, decode)} == {TRACE}
    assert {one.kind for one in (queue, prefill, decode)} == {Span.SPAN_KIND_INTERNAL}
    assert span.start_time_unix_nano <= queue.start_time_unix_nano
    assert queue.end_time_unix_nano == prefill.start_time_unix_nano
    assert prefill.end_time_unix_nano == decode.start_time_unix_nano
    assert decode.end_time_unix_nano <= span.end_time_unix_nano
    # One step, and four more: each takes 10 ms at the least.
    assert prefill.end_time_unix_nano - prefill.start_time_unix_nano >= 10e6
    assert decode.end_time_unix_nano - decode.start_time_unix_nano >= 40e6
    assert values(prefill.attributes) == {
        "gen_ai.usage.input_tokens": 3,
        "nacelle.choice.index": 0,
    }
    assert values(decode.attributes) == {
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.response.finish_reasons": ["length"],
        "nacelle.choice.index": 0,
    }
    assert receiver.paths[0] == "/v1/traces"
    assert receiver.headers[0]["api-key"] == "k"
    assert receiver.resources[0]["service.name"] == "nacelle"
    exported = {"outcome": "exported"}
    server.until(lambda: server.metric("nacelle_trace_spans_total", **exported) == 4)


@pytest.mark.slow
def test_streams_chats_choices_and_errors_are_told_too(traced, collector):
    receiver, url = collector
    server = traced(
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/here",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_SERVICE_NAME="mine",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
    )
    with server.openai() as client:
        chunks = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": "x"}],
            max_completion_tokens=4,
            n=2,
            stream=True,
            response_format={"type": "text"},
        )
        assert list(chunks)
    (chat,) = receiver.named("chat tiny")
    told = values(chat.attributes)
    assert (told["gen_ai.request.stream"], told["gen_ai.request.choice.count"]) == (True, 2)
    assert (told["gen_ai.request.max_tokens"], told["gen_ai.output.type"]) == (4, "text")
    assert len(told["gen_ai.response.finish_reasons"]) == 2
    assert told["gen_ai.usage.output_tokens"] <= 8
    lasted = (chat.end_time_unix_nano - chat.start_time_unix_nano) / 1e9
    assert 0 < told["gen_ai.response.time_to_first_chunk"] < lasted
    indices = [values(one.attributes)["nacelle.choice.index"] for one in receiver.children(chat)]
    assert sorted(indices) == [0, 0, 0, 1, 1, 1]
    assert not chat.parent_span_id
    assert receiver.paths[0] == "/here"
    assert receiver.headers[0]["Content-Encoding"] == "gzip"
    wanted = {"service.name": "mine", "deployment.environment.name": "test"}
    assert wanted.items() <= receiver.resources[0].items()
    # A client's fault is told, and is no error of the server's.
    assert ask(server, temperature=-1).status_code == 400
    (bad,) = receiver.named("POST /v1/completions")
    assert bad.status.code == Status.STATUS_CODE_UNSET
    assert values(bad.attributes)["error.type"] == "400"
    assert values(bad.attributes)["http.response.status_code"] == 400
    assert ask(server, model="other").status_code == 404
    found = receiver.named("POST /v1/completions", 2)[-1]
    assert values(found.attributes)["error.type"] == "model_not_found"
    # Nothing else is traced.
    assert server.http.get("/v1/models").status_code == 200
    assert ask(server, json=None, stop="x").status_code in (200, 400)
    assert {span.name for span in receiver.spans if not span.parent_span_id} <= {
        *("chat tiny", "POST /v1/completions", "text_completion tiny"),
    }


@pytest.mark.slow
def test_a_client_that_leaves_and_a_core_that_dies(traced, collector):
    receiver, url = collector
    server = traced(step_seconds=0.02, OTEL_EXPORTER_OTLP_ENDPOINT=url)
    asked = ASKED | {"max_tokens": 390, "ignore_eos": True, "stream": True}
    with server.http.stream("POST", "/v1/completions", json=asked) as answer:
        next(answer.iter_lines())
    (left,) = receiver.named("text_completion tiny")
    assert values(left.attributes)["error.type"] == "client_gone"
    assert "gen_ai.response.finish_reasons" not in values(left.attributes)
    assert left.status.code == Status.STATUS_CODE_UNSET
    assert [one.name for one in receiver.children(left)] == ["queue", "prefill", "decode"]
    with ThreadPoolExecutor(1) as pool:
        whole = pool.submit(ask, server, max_tokens=390)
        with server.http.stream("POST", "/v1/completions", json=asked) as answer:
            lines = answer.iter_lines()
            next(lines)
            server.until(lambda: server.metric("nacelle_requests_running") == 2)
            os.kill(server.children()["core"], signal.SIGKILL)
            assert any("core_lost" in line for line in lines)
        assert whole.result().status_code == 503
    assert server.process.wait(30) == 75
    lost = receiver.named("text_completion tiny", 3)[1:]
    assert {values(one.attributes)["error.type"] for one in lost} == {"core_lost"}
    assert {one.status.code for one in lost} == {Status.STATUS_CODE_ERROR}
    assert {values(one.attributes)["http.response.status_code"] for one in lost} == {200, 503}


@pytest.mark.slow
def test_a_sampler_and_a_parent_say_what_is_told(traced, collector):
    receiver, url = collector
    server = traced(
        OTEL_EXPORTER_OTLP_ENDPOINT=url,
        OTEL_TRACES_SAMPLER="parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0",
    )
    for headers in (None, continued("00"), {"traceparent": "nonsense"}, continued("01")):
        assert ask(server, headers=headers).status_code == 200
    (span,) = receiver.named("text_completion tiny")
    assert span.trace_id.hex() == TRACE
    assert server.end() == 0
    assert [span.name for span in receiver.spans].count("text_completion tiny") == 1


@pytest.mark.slow
def test_an_ended_server_sends_its_last_spans(traced, collector):
    receiver, url = collector
    server = traced(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="60000")
    assert ask(server).status_code == 200
    assert not receiver.spans
    assert server.end() == 0
    assert len(receiver.named("text_completion tiny")) == 1


def _silent():
    """A port that takes connections and never says a word, and its socket."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["refuses", "fails", "hangs"])
def test_a_collector_that_is_down_costs_spans_and_nothing_else(traced, collector, harm):
    receiver, url = collector
    receiver.answer = 400
    silent, silent_url = _silent()
    urls = {"refuses": "http://127.0.0.1:9", "fails": url, "hangs": silent_url}
    server = traced(
        OTEL_EXPORTER_OTLP_ENDPOINT=urls[harm],
        OTEL_BSP_MAX_QUEUE_SIZE="8",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="4",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
    )
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(server), range(40)))
    assert [answer.status_code for answer in answers] == [200] * 40
    assert len({answer.json()["choices"][0]["text"] for answer in answers}) == 1
    dropped = {"outcome": "dropped"}
    # 160 spans; what is not dropped yet is in the queue or on its way: 8 and 4 at the most.
    assert server.metric("nacelle_trace_spans_total", **dropped) >= 160 - 8 - 4
    server.until(lambda: server.metric("nacelle_trace_spans_total", **dropped) == 160)
    assert server.metric("nacelle_trace_spans_total", outcome="exported") == 0
    assert server.end() == 0
    silent.close()


@pytest.mark.slow
def test_a_collector_that_hangs_holds_up_no_end(traced):
    silent, url = _silent()
    with silent:
        server = traced(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_EXPORTER_OTLP_TIMEOUT="600")
        assert ask(server).status_code == 200
        assert server.end() == 0


@pytest.mark.slow
def test_without_being_asked_nothing_is_sent(traced, collector):
    receiver, url = collector
    server = traced("--access-log", OTEL_EXPORTER_OTLP_ENDPOINT=url)
    assert ask(server).status_code == 200
    assert "nacelle_trace_spans" not in server.http.get("/metrics").text
    assert server.end() == 0
    assert not receiver.spans


@pytest.mark.slow
def test_a_server_without_the_packages_says_what_to_install(tmp_path, monkeypatch):
    # A package of this name hides the namespace that the SDK lies in.
    shadow = tmp_path / "shadow" / "opentelemetry"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("")
    paths = [str(shadow.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    server = launch(seal(tmp_path / "bundle"), tmp_path, ("--traces", "otlp"))
    assert server.process.wait(120) == 65
    assert (
        "nacelle serve: InvalidRequest: --traces otlp needs OpenTelemetry's SDK and its OTLP "
        "exporter over HTTP: pip install 'nacelle[runtime]'\n"
    ) in server.errors.read_text()


@pytest.mark.slow
def test_the_sdk_is_loaded_by_nobody_who_does_not_ask():
    code = (
        "import sys, nacelle_runtime.frontends.openai.process, nacelle_runtime.commands.serve\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert found.stdout == b"[]\n"


@pytest.mark.parametrize(
    ("flag", "variables", "wanted"),
    [
        (None, {}, False),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, False),
        (None, {"OTEL_TRACES_EXPORTER": "otlp"}, True),
        (None, {"OTEL_TRACES_EXPORTER": "none"}, False),
        ("none", {"OTEL_TRACES_EXPORTER": "otlp"}, False),
        ("otlp", {"OTEL_TRACES_EXPORTER": "none"}, True),
        ("otlp", {"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}, True),
        ("none", {"OTEL_TRACES_SAMPLER": "sometimes"}, False),
    ],
)
def test_the_flag_comes_before_the_variable(flag, variables, wanted):
    assert traces_wanted(flag, variables) is wanted


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin: say otlp or none"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc: only http/protobuf is spoken",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318: give an http:// or https:// URL",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_COMPRESSION": "brotli"},
            "OTEL_EXPORTER_OTLP_COMPRESSION=brotli: say one of none, gzip, deflate",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "sometimes"},
            "OTEL_TRACES_SAMPLER=sometimes: say one of always_on, always_off, "
            "parentbased_always_on, parentbased_always_off, traceidratio, parentbased_traceidratio",
        ),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_TRACES_SAMPLER": "traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "2",
            },
            "OTEL_TRACES_SAMPLER_ARG=2: give a number from 0 to 1",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "0"},
            "OTEL_BSP_MAX_QUEUE_SIZE=0: give a number above 0",
        ),
    ],
)
def test_what_a_variable_cannot_ask_for_is_refused_by_name(variables, message):
    with pytest.raises(InvalidRequest) as refused:
        traces_wanted(None, variables)
    assert str(refused.value) == message


@pytest.mark.slow
def test_what_the_sdk_itself_refuses_ends_the_server_with_its_words(tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "20")
    server = launch(seal(tmp_path / "bundle"), tmp_path, ("--traces", "otlp"))
    assert server.process.wait(120) == 65
    assert "InvalidRequest: traces: the OTEL_ variables cannot be used: " in (
        server.errors.read_text()
    )
    with pytest.raises(httpx.ConnectError):
        httpx.get("http://127.0.0.1:9/")
