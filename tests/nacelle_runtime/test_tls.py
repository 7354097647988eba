"""TLS at the frontend's port: renewed certificates, files that cannot be used, a real server."""

import contextlib
import shutil
import socket
import ssl
import threading

import httpx
import pytest
from certificates import make_certificate
from serving import launch
from tiny_bundle import seal
from tiny_program import TinyProgram

from nacelle_engine.errors import InvalidRequest
from nacelle_runtime.frontends.openai.tls import Tls


@pytest.fixture
def certificate(tmp_path):
    return make_certificate(tmp_path / "given")


def served(context):
    """The certificate (DER) that a context's server shows to a client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            accepted, _ = listener.accept()
            with contextlib.suppress(OSError), context.wrap_socket(accepted, server_side=True):
                pass

        thread = threading.Thread(target=answer)
        thread.start()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(listener.getsockname(), timeout=10) as raw,
            client.wrap_socket(raw) as wrapped,
        ):
            shown = wrapped.getpeercert(binary_form=True)
        thread.join(10)
        return shown


def der(certificate):
    return ssl.PEM_cert_to_DER_cert(certificate.read_text())


def test_a_renewed_certificate_is_shown_to_those_who_come_then(certificate, tmp_path):
    tls = Tls(certificate, certificate.with_suffix(".key"))
    old = der(certificate)
    assert served(tls.context) == old
    new = make_certificate(tmp_path / "new")
    for suffix in (".crt", ".key"):
        shutil.copy(new.with_suffix(suffix), certificate.with_suffix(suffix))
    assert served(tls.context) == old
    tls.refresh()
    assert served(tls.context) == der(new) != old


@pytest.mark.parametrize("spoil", ["half a pair", "no file", "no PEM"])
def test_while_the_files_cannot_be_used_the_old_certificate_goes_on(
    certificate, tmp_path, capsys, spoil
):
    key = certificate.with_suffix(".key")
    tls = Tls(certificate, key)
    old = der(certificate)
    new = make_certificate(tmp_path / "new")
    if spoil == "half a pair":
        shutil.copy(new, certificate)
    elif spoil == "no file":
        key.unlink()
    else:
        certificate.write_text("nothing")
    tls.refresh()
    assert served(tls.context) == old
    warned = capsys.readouterr().err
    assert "cannot be used: " in warned
    assert "the one before goes on" in warned
    for suffix in (".crt", ".key"):
        shutil.copy(new.with_suffix(suffix), certificate.with_suffix(suffix))
    tls.refresh()
    assert served(tls.context) == der(new)


def test_a_renewal_amid_a_look_at_the_files_leaves_no_half_of_a_pair(
    certificate, tmp_path, monkeypatch
):
    """The files are two, and what writes them may do so at any moment."""
    tls = Tls(certificate, certificate.with_suffix(".key"))
    second, third = (make_certificate(tmp_path / name) for name in ("second", "third"))
    for suffix in (".crt", ".key"):
        shutil.copy(second.with_suffix(suffix), certificate.with_suffix(suffix))

    def load(context, *files, **options):
        super(ssl.SSLContext, context).load_cert_chain(*files, **options)
        shutil.copy(third, certificate)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load, raising=False)
    tls.refresh()
    monkeypatch.undo()
    assert served(tls.context) == der(second)
    shutil.copy(third.with_suffix(".key"), certificate.with_suffix(".key"))
    tls.refresh()
    assert served(tls.context) == der(third)


def refusal(certificate, key):
    with pytest.raises(InvalidRequest) as refused:
        Tls(certificate, key)
    return str(refused.value)


def test_files_that_cannot_be_used_are_named(certificate, tmp_path):
    key = certificate.with_suffix(".key")
    named = f"--tls-certificate {certificate} and --tls-key {tmp_path / 'none'} cannot be used: "
    assert refusal(certificate, tmp_path / "none").startswith(f"{named}[Errno 2]")
    other = make_certificate(tmp_path / "other").with_suffix(".key")
    assert "mismatch" in refusal(certificate, other)
    assert "cannot be used: " in refusal(key, key)


@pytest.mark.slow
def test_a_server_over_tls_answers_and_takes_no_plain_http(certificate, tmp_path):
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(certificate)[:-3] + "key")
    server = launch(seal(tmp_path / "bundle"), tmp_path, flags)
    try:
        scheme, _, port = server.wait_for_url().rpartition(":")
        assert scheme == "https://127.0.0.1"
        trusted = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=f"https://localhost:{port}", verify=trusted) as client:
            body = {"model": "tiny", "prompt": [40, 41, 42], "max_tokens": 8, "temperature": 0}
            answer = client.post("/v1/completions", json=body).json()
            assert answer["choices"][0]["text"] == "".join(
                chr(33 + token) for token in TinyProgram().greedy([40, 41, 42], 8)
            )
            with client.stream("POST", "/v1/completions", json={**body, "stream": True}) as stream:
                lines = [line for line in stream.iter_lines() if line]
            assert lines[-1] == "data: [DONE]"
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://localhost:{port}/health/ready", timeout=10)
    finally:
        server.kill()


@pytest.mark.slow
def test_a_client_that_keeps_its_connection_holds_up_no_end(certificate, tmp_path):
    files = ("--tls-certificate", str(certificate), "--tls-key", str(certificate)[:-3] + "key")
    flags = (*files, "--drain-seconds", "20")
    server = launch(seal(tmp_path / "bundle"), tmp_path, flags)
    try:
        url = server.wait_for_url()
        trusted = ssl.create_default_context(cafile=str(certificate))
        with httpx.Client(base_url=url, verify=trusted) as client:
            assert client.get("/health/live").status_code == 200
            assert server.end() == 0
        assert "graceful shutdown exceeded" not in server.errors.read_text()
    finally:
        server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("given", ["--tls-certificate", "--tls-key"])
def test_half_of_the_flags_is_refused(certificate, tmp_path, given):
    server = launch(seal(tmp_path / "bundle"), tmp_path, (given, str(certificate)))
    assert server.process.wait(60) == 65
    assert "--tls-certificate and --tls-key: give both or neither" in server.errors.read_text()
