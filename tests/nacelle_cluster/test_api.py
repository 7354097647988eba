"""An API server that breaks off in the midst of its answer, as one does that is killed."""

import socket
import ssl
from threading import Thread

import pytest
import yaml

from nacelle_cluster.api import ApiServer
from nacelle_cluster.certificates import make_certificates
from nacelle_cluster.errors import ClusterError
from nacelle_cluster.spec import ClusterSpec


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    spec = ClusterSpec("test", 7, tmp_path_factory.mktemp("home"))
    make_certificates(spec)
    return spec


@pytest.fixture(
    params=[
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nok",
        b"HTT",
    ],
    ids=["body", "chunk", "head"],
)
def broken(request, spec, tmp_path):
    """A server that sends so much of an answer and no more."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*(spec.certificates / f"apiserver.{end}" for end in ("crt", "key")))
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(65536)
                secure.sendall(request.param)

    thread = Thread(target=serve)
    thread.start()
    document = yaml.safe_load(spec.kubeconfig.read_text())
    port = listener.getsockname()[1]
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(document))
    yield ApiServer(tmp_path / "kubeconfig")
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=10)


def test_half_an_answer_is_none(broken):
    assert broken.get("/version") is None
    assert not broken.ready()
    with pytest.raises(ClusterError, match=r"GET https://127\.0\.0\.1"):
        broken.text("/version")
