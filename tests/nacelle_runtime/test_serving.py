"""A server's life: load, clients that leave, orders to end, and a core that dies."""

import asyncio
import json
import os
import resource
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager

import httpx
import openai
import pytest
from serving import Server, gone, launch, start_server
from tiny_bundle import seal
from tiny_program import TinyProgram

from nacelle_engine.arch import Architecture
from nacelle_engine.result import parse_result
from nacelle_runtime.child import LEAVE
from nacelle_runtime.client import CoreClient, CoreLost, Generation
from nacelle_runtime.request import Ending, Sampling

pytestmark = pytest.mark.slow
MODEL = TinyProgram()


def ask(server, prompt=(40, 41), **fields):
    body = {"model": "tiny", "prompt": list(prompt), "temperature": 0, "ignore_eos": True} | fields
    return server.http.post("/v1/completions", json=body)


def idle(server):
    return server.metric("nacelle_kv_blocks_used") == server.metric("nacelle_requests_waiting") == 0


@pytest.fixture(scope="module")
def steady(tmp_path_factory):
    """A server with two steps in flight, for tests that leave it as it was."""
    flags = ("--steps-in-flight", "2")
    server = start_server(tmp_path_factory.mktemp("steady"), flags, {"step_seconds": 0.002})
    yield server
    server.kill()


@pytest.fixture(scope="module")
def narrow(tmp_path_factory):
    """One request runs at a time, slowly, and two may wait; tests leave it as it was."""
    flags = ("--max-batch-size", "1", "--queue-limit", "2", "--steps-in-flight", "2")
    server = start_server(tmp_path_factory.mktemp("narrow"), flags, {"step_seconds": 0.02})
    yield server
    server.kill()


def growth(server):
    """A function like the server's `metric`: what has come to it since now."""
    before = {}

    def grown(name, **labels):
        return server.metric(name, **labels) - before[name, tuple(labels.items())]

    for name, labels in COUNTERS:
        before[name, tuple(labels.items())] = server.metric(name, **labels)
    return grown


COUNTERS = (
    *(
        (f"nacelle_{name}", {})
        for name in (
            "step_seconds_count",
            "time_to_first_token_seconds_count",
            "inter_token_latency_seconds_count",
            "generated_tokens_total",
        )
    ),
    *(("nacelle_requests_total", {"outcome": outcome}) for outcome in ("length", "cancelled")),
)


def test_eight_at_once_in_any_mix_answer_as_alone(steady):
    server, grown = steady, growth(steady)
    prompts = [[(7 * n + i) % 94 for i in range(1 + 13 * n)] for n in range(20)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda p: ask(server, p, max_tokens=40), prompts))
    texts = [a.json()["choices"][0]["text"] for a in answers]
    expected = ["".join(chr(33 + t) for t in MODEL.greedy(p, 40)) for p in prompts]
    assert texts == expected
    assert grown("nacelle_step_seconds_count") < 20 * 40 / 2, "requests did not share steps"
    assert grown("nacelle_time_to_first_token_seconds_count") == 20
    assert grown("nacelle_inter_token_latency_seconds_count") == 20 * 39
    assert grown("nacelle_generated_tokens_total") == 20 * 40
    assert grown("nacelle_requests_total", outcome="length") == 20


def test_a_full_queue_gets_429_and_a_time_to_come_back(narrow):
    server = narrow
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask(server, max_tokens=50), range(6)))
    refused = [a for a in answers if a.status_code == 429]
    assert [a.status_code for a in answers].count(200) >= 3
    assert refused, "nobody was turned away"
    assert all(a.headers["retry-after"] == "1" for a in refused)
    assert all(a.json()["error"]["type"] == "rate_limit_error" for a in refused)
    assert ask(server, max_tokens=2).status_code == 200


LONG = {"model": "tiny", "prompt": "x", "max_tokens": 390, "ignore_eos": True}


def leave_a_stream(server):
    with server.http.stream("POST", "/v1/completions", json=LONG | {"stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert server.metric("nacelle_kv_blocks_used") > 0


def leave_a_whole_answer(server):
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{server.url}/v1/completions", json=LONG, timeout=0.5)


@pytest.mark.parametrize("leave", [leave_a_stream, leave_a_whole_answer])
def test_a_client_that_leaves_frees_its_blocks(narrow, leave):
    server, grown = narrow, growth(narrow)
    leave(server)
    server.until(lambda: idle(server))
    assert grown("nacelle_requests_total", outcome="cancelled") == 1
    assert grown("nacelle_generated_tokens_total") < 390


def test_a_client_that_leaves_while_waiting_is_forgotten(narrow):
    server, grown = narrow, growth(narrow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server, max_tokens=60)
        server.until(lambda: server.metric("nacelle_requests_running") == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                f"{server.url}/v1/completions", json={"model": "tiny", "prompt": "x"}, timeout=0.2
            )
        server.until(lambda: server.metric("nacelle_requests_waiting") == 0)
        assert first.result().status_code == 200
    assert grown("nacelle_requests_total", outcome="cancelled") == 1


def test_a_slow_reader_does_not_hold_up_the_others(steady):
    server = steady
    with server.http.stream(
        "POST",
        "/v1/completions",
        json={
            "model": "tiny",
            "prompt": "x",
            "max_tokens": 390,
            "stream": True,
            "ignore_eos": True,
        },
    ) as slow:
        lines = slow.iter_lines()
        next(lines)
        with httpx.Client(base_url=server.url, timeout=60) as other:
            server.http, kept = other, server.http
            assert ask(server, max_tokens=300).status_code == 200
            server.until(lambda: idle(server))
            server.http = kept
        assert sum(line.startswith("data:") for line in lines) > 3


@pytest.mark.parametrize("depth", ["1", "2"])
def test_sigterm_finishes_what_runs_and_turns_away_what_comes(serve, depth):
    server = serve("--max-batch-size", "2", "--steps-in-flight", depth, step_seconds=0.02)
    with ThreadPoolExecutor(5) as pool:
        running = [pool.submit(ask, server, max_tokens=60) for _ in range(4)]
        stream = pool.submit(stream_text, server)
        # Four prompts of two tokens and one of one have come: those that wait are soon fewer.
        server.until(lambda: server.metric("nacelle_prompt_tokens_total") == 9)
        server.process.send_signal(signal.SIGTERM)
        server.until(lambda: server.http.get("/health/ready").status_code == 503)
        refused = ask(server)
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert server.http.get("/health/live").status_code == 200
        answers = [future.result() for future in running]
        assert len(stream.result()) == 50
    assert [a.json()["usage"]["completion_tokens"] for a in answers] == [60] * 4
    assert server.process.wait(30) == 0
    assert not server.log.exists()


def test_clients_that_keep_connections_are_sent_elsewhere_before_the_end(serve):
    """As by a pod's preStop hook: nobody is turned away, and no connection is kept."""
    server = serve(step_seconds=0.01)
    with ThreadPoolExecutor(1) as pool:
        assert "connection" not in ask(server).headers
        stream = pool.submit(stream_text, server)
        server.until(lambda: server.metric("nacelle_prompt_tokens_total") == 3)
        server.process.send_signal(LEAVE)
        server.until(lambda: server.http.get("/health/ready").status_code == 503)
        for _ in range(2):
            answer = ask(server)
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert len(stream.result()) == 50
    assert server.http.get("/health/live").status_code == 200
    assert server.end() == 0


# It checks its bundle until a file says that it is done, as a large bundle on a slow store takes
# minutes; SIGTERM is lost where nobody handles it, as in a container's first process.
CHECKING = """
import signal, sys, time
from pathlib import Path

signal.signal(signal.SIGTERM, signal.SIG_IGN)
import tiny_serve
from nacelle_runtime.commands import serve

def verify(bundle):
    print("checking", file=sys.stderr, flush=True)
    while not (bundle.root.parent / "checked").exists():
        time.sleep(0.01)

serve.verify_files = verify
tiny_serve.supervisor.CORE = "tiny_core"
sys.exit(tiny_serve.main(["serve", *sys.argv[1:]]))
"""


@pytest.fixture
def checking(tmp_path):
    """A server that checks its bundle."""
    bundle = seal(tmp_path / "bundle")
    server = Server([sys.executable, "-c", CHECKING, str(bundle), "--threads", "1"], tmp_path)
    server.until(lambda: "checking" in server.errors.read_text())
    yield server
    server.process.kill()
    server.kill()


def test_a_server_that_is_told_to_end_while_it_checks_its_bundle_ends(checking):
    assert checking.end() == 0
    assert not checking.log.exists()


def test_what_is_told_to_leave_while_it_starts_never_invites_clients(checking):
    checking.process.send_signal(LEAVE)
    (checking.folder / "checked").touch()
    url = checking.wait_for_url()
    with httpx.Client(base_url=url, timeout=60) as checking.http:
        checking.until(lambda: refusal(checking) == "shutting_down")
        assert ask(checking).headers["connection"] == "close"
        assert checking.end() == 0


def refusal(server):
    """The code of why it is not ready."""
    return server.http.get("/health/ready").json()["error"]["code"]


def stream_text(server):
    with server.openai() as client:
        chunks = client.completions.create(
            model="tiny", prompt="x", max_tokens=50, stream=True, extra_body={"ignore_eos": True}
        )
        return "".join(chunk.choices[0].text for chunk in chunks)


def test_draining_has_a_deadline(serve):
    server = serve("--drain-seconds", "0.3", step_seconds=0.1)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask, server, max_tokens=390)
        server.until(lambda: server.metric("nacelle_requests_running") == 1)
        assert server.end() == 0
        assert running.result().status_code == 503


async def test_answers_of_other_frontends_are_drained_too(serve):
    server = serve("--drain-seconds", "30", step_seconds=0.02)
    async with other_frontend(server) as answer:
        tokens = [output.token for output in await answer.read()]
        server.process.send_signal(signal.SIGTERM)
        while len(tokens) < 100:
            tokens += [output.token for output in await answer.read()]
    assert tokens == MODEL.greedy([40, 41], 100)
    assert server.process.wait(30) == 0


async def test_draining_other_frontends_has_the_same_deadline(serve):
    server = serve("--drain-seconds", "0.3", step_seconds=0.1)
    async with other_frontend(server) as answer:
        await answer.read()
        assert server.end() == 0
        with pytest.raises(CoreLost):
            while True:
                await answer.read()


@asynccontextmanager
async def other_frontend(server):
    """An answer of 100 tokens that is asked for at the core's socket."""
    client = CoreClient()
    connection = asyncio.create_task(client.run(server.core_socket()))
    await client.ready
    yield client.submit(Generation([40, 41], Sampling(temperature=0), Ending(100)))
    await connection


@contextmanager
def two_under_way(server):
    """A whole answer and a streamed one, as futures."""
    with ThreadPoolExecutor(2) as pool:
        whole = pool.submit(ask, server, max_tokens=390)
        stream = pool.submit(stream_text, server)
        server.until(lambda: server.metric("nacelle_requests_running") == 2)
        yield whole, stream


def test_a_killed_core_ends_everything_with_an_error(serve):
    server = serve(step_seconds=0.05)
    children = server.children()
    with two_under_way(server) as (whole, stream):
        os.kill(children["core"], signal.SIGKILL)
        assert whole.result().status_code == 503
        with pytest.raises(openai.APIError):
            stream.result()
    assert server.process.wait(30) == 75
    failure = parse_result(server.log.read_text()).failure
    assert (failure.code, "SIGKILL" in failure.message) == ("CoreDied", True)
    assert gone(children)


def test_a_frontend_that_is_slow_still_tells_that_the_core_is_lost(serve):
    """On a machine under load it may get no CPU for seconds."""
    server = serve(step_seconds=0.05)
    children = server.children()
    with two_under_way(server) as (whole, stream):
        os.kill(children["frontend"], signal.SIGSTOP)
        os.kill(children["core"], signal.SIGKILL)
        time.sleep(2)
        os.kill(children["frontend"], signal.SIGCONT)
        assert whole.result().json()["error"]["code"] == "core_lost"
        with pytest.raises(openai.APIError) as told:
            stream.result()
    assert told.value.code == "core_lost"
    assert server.process.wait(30) == 75


def test_connections_are_as_many_as_the_system_grants(serve):
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, most))
    try:
        server = serve()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
    host, port = server.url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
        assert httpx.get(f"{server.url}/health/live", timeout=30).status_code == 200


def test_a_killed_frontend_ends_everything_with_an_error(serve):
    server = serve()
    children = server.children()
    os.kill(children["frontend"], signal.SIGKILL)
    assert server.process.wait(30) != 0
    assert gone(children)


def test_a_killed_supervisor_leaves_no_orphan(serve):
    server = serve()
    children = server.children()
    assert set(children) == {"core", "frontend"}
    server.end(signal.SIGKILL)
    server.until(lambda: gone(children))


def test_ctrl_c_ends_an_idle_server(serve):
    server = serve()
    children = server.children()
    assert server.end(signal.SIGINT) == 0
    assert gone(children)


def test_a_broken_core_socket_message_costs_only_its_connection(steady):
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(steady.core_socket())
        stranger.sendall(b"\xff\xff\xff\xff nonsense")
        while stranger.recv(1 << 16):
            pass
    assert ask(steady, max_tokens=2).status_code == 200


@pytest.mark.parametrize(
    ("harm", "code", "exit_code", "message"),
    [
        ({"abi": "torch1-triton1-ops1"}, "AbiMismatch", 78, "was compiled for runtime torch1"),
        ({"architecture": Architecture.SM_90}, "TargetMismatch", 78, "was compiled for sm_90"),
        ("flip", "CorruptBundle", 79, "rank0/tiny.json"),
        ("remove", "CorruptBundle", 79, "manifest.json cannot be read"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(tmp_path, harm, code, exit_code, message):
    bundle = seal(tmp_path / "bundle", **(harm if isinstance(harm, dict) else {}))
    if harm == "flip":
        (bundle / "rank0" / "tiny.json").write_text(json.dumps({"step_seconds": 9.9}))
    if harm == "remove":
        (bundle / "manifest.json").unlink()
    server = launch(bundle, tmp_path, ())
    assert server.process.wait(30) == exit_code
    failure = parse_result(server.log.read_text()).failure
    assert (failure.code, failure.stage) == (code, "serve")
    assert message in failure.message
    assert f"nacelle serve: {code}: " in server.errors.read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--max-batch-size", "9"), "--max-batch-size 9: the engine was built for at most 8"),
        (("--api-keys-file", "/nowhere"), "--api-keys-file /nowhere cannot be read"),
        (("--host", "192.0.2.1"), "--host 192.0.2.1 --port 0"),
        (("--core-socket", "/nowhere/s"), "--core-socket /nowhere/s: no socket can be made"),
        (("--core-socket", "/" + "x" * 107), ": at most 107 bytes"),
        (("--core-socket", "/proc/s"), "--core-socket /proc/s: no socket can be made there: "),
    ],
)
def test_a_flag_that_cannot_be_is_named(tmp_path, flags, message):
    server = launch(seal(tmp_path / "bundle"), tmp_path, flags)
    assert server.process.wait(30) == 65
    assert message in server.errors.read_text()
    assert message in parse_result(server.log.read_text()).failure.message


def test_a_folder_for_temporary_files_that_holds_no_socket_is_named(tmp_path, monkeypatch):
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    server = launch(seal(tmp_path / "bundle"), tmp_path, ())
    assert server.process.wait(30) == 65
    assert (
        f"--core-socket {folder}/nacelle-" in parse_result(server.log.read_text()).failure.message
    )
    assert list(folder.iterdir()) == []


def test_a_small_cache_lowers_the_longest_sequence(serve):
    server = serve("--kv-cache-blocks", "4")
    answer = ask(server, [5] * 100)
    assert answer.status_code == 400
    assert "the engine's limit is 95" in answer.json()["error"]["message"]
    assert ask(server, [5] * 80, max_tokens=16).status_code == 200
