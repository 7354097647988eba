"""What is asked through the API server's proxy, as the service gets it."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import yaml

from nacelle_demo.errors import DemoError
from nacelle_demo.question import Endpoint

EVENTS = [{"choices": [{"delta": delta}]} for delta in ({"content": "Par"}, {"content": "is"}, {})]
FAILED = {"error": {"message": "the core is lost", "type": "server_error"}}


class Service(BaseHTTPRequestHandler):
    """Notes the head and the body of a question, and answers with events, or less than it says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.server.asked.append((self.path, self.headers, json.loads(body)))
        events = [*map(json.dumps, self.server.events), "[DONE]"]
        stream = "".join(f"data: {event}\n\n" for event in events).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(stream) + self.server.withheld))
        self.end_headers()
        self.wfile.write(stream)
        self.close_connection = self.server.withheld > 0

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy():
    # A client may keep its connection: with one thread the server's end would wait for it.
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.asked, server.events, server.withheld = [], EVENTS, 0
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def endpoint(proxy, tmp_path):
    name = {"name": "x"}
    config = {
        "clusters": [name | {"cluster": {"server": f"http://127.0.0.1:{proxy.server_port}"}}],
        "contexts": [name | {"context": {"cluster": "x", "user": "x"}}],
        "users": [name | {"user": {"token": "t"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    return Endpoint(tmp_path / "config", "team", "model")


def test_a_question_comes_in_chunks(proxy, endpoint):
    """So that the API server has seen its end before anybody can answer."""
    assert "".join(endpoint.ask("tiny", "What is the capital?")) == "Paris"
    ((path, head, body),) = proxy.asked
    assert path == "/api/v1/namespaces/team/services/model:8000/proxy/v1/chat/completions"
    assert (head["Transfer-Encoding"], head["Content-Length"]) == ("chunked", None)
    assert body["messages"] == [{"role": "user", "content": "What is the capital?"}]


def test_an_error_amid_the_answer_is_told_in_its_own_words(proxy, endpoint):
    proxy.events = [*EVENTS[:2], FAILED]
    with pytest.raises(DemoError, match="the service gave up: the core is lost"):
        list(endpoint.ask("tiny", "What is the capital?"))


def test_an_answer_that_breaks_off_names_the_service(proxy, endpoint):
    proxy.withheld = 100
    with pytest.raises(DemoError, match=r"the answer of team/model: .*more expected"):
        list(endpoint.ask("tiny", "What is the capital?"))


def test_a_server_that_is_gone_names_the_service(proxy, endpoint):
    proxy.shutdown()
    proxy.server_close()
    with pytest.raises(DemoError, match=r"the answer of team/model: .*refused"):
        list(endpoint.ask("tiny", "What is the capital?"))
