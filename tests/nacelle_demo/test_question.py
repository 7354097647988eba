"""What is asked through the API server's proxy, as the service gets it."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import yaml

from nacelle_demo.question import Endpoint

EVENTS = [{"content": "Par"}, {"content": "is"}, {}]


class Service(BaseHTTPRequestHandler):
    """Notes the head and the body of a question, and answers with EVENTS."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        self.server.asked.append((self.path, self.headers, json.loads(body)))
        events = [json.dumps({"choices": [{"delta": delta}]}) for delta in EVENTS]
        stream = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(stream)))
        self.end_headers()
        self.wfile.write(stream)

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy():
    server = HTTPServer(("127.0.0.1", 0), Service)
    server.asked = []
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_question_comes_in_chunks(proxy, tmp_path):
    """So that the API server has seen its end before anybody can answer."""
    name = {"name": "x"}
    config = {
        "clusters": [name | {"cluster": {"server": f"http://127.0.0.1:{proxy.server_port}"}}],
        "contexts": [name | {"context": {"cluster": "x", "user": "x"}}],
        "users": [name | {"user": {"token": "t"}}],
        "current-context": "x",
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    endpoint = Endpoint(tmp_path / "config", "team", "model")
    assert "".join(endpoint.ask("tiny", "What is the capital?")) == "Paris"
    ((path, head, body),) = proxy.asked
    assert path == "/api/v1/namespaces/team/services/model:8000/proxy/v1/chat/completions"
    assert (head["Transfer-Encoding"], head["Content-Length"]) == ("chunked", None)
    assert body["messages"] == [{"role": "user", "content": "What is the capital?"}]
