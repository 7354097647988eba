import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.registry import Registry
from nacelle_images.remote import has_image

ANSWERS = {
    "/v2/nacelle/operator/manifests/there": 200,
    "/v2/team/nacelle/operator/manifests/there": 200,
    "/v2/nacelle/operator/manifests/private": 401,
    "/v2/nacelle/operator/manifests/broken": 500,
}


class Handler(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(ANSWERS.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("prefix", "tag", "expected"),
    [("", "there", True), ("/team", "there", True), ("", "absent", False), ("", "private", False)],
)
def test_whether_a_tag_is_there(address, prefix, tag, expected):
    assert has_image(Registry(address + prefix, True), "nacelle/operator", tag) is expected


def test_a_broken_registry_is_not_taken_for_an_empty_one(address):
    with pytest.raises(ClusterError, match="manifests/broken: 500"):
        has_image(Registry(address, True), "nacelle/operator", "broken")


def test_a_registry_that_does_not_answer_is_named():
    with pytest.raises(ClusterError, match=r"registry 127\.0\.0\.1:1 does not answer"):
        has_image(Registry("127.0.0.1:1", True), "nacelle/operator", "any")
