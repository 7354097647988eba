"""Hub models: huggingface_hub's real client against a hub on loopback, over real HTTP."""

import errno
import hashlib
import json
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nacelle_builder.build import Build, Facts, work_folder
from nacelle_builder.fetch.fetch import fetch
from nacelle_builder.settings import HubAccess
from nacelle_builder.source import hub as hub_module
from nacelle_builder.source.digest import model_digest
from nacelle_builder.source.files import find_checkpoint
from nacelle_builder.source.hub import HubModel, download
from nacelle_builder.stages import source
from nacelle_engine.errors import InvalidModel, InvalidRequest, SourceUnavailable, TensorInvalid
from nacelle_engine.recipe import Recipe
from nacelle_engine.request import BuildRequest, HuggingFaceSource

REVISION = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What it serves and what it was asked."""

    files: dict
    repo: str = "org/tiny"
    token: str | None = None
    status: int | None = None
    hang: bool = False
    ends: threading.Event = field(default_factory=threading.Event)
    endpoint: str = ""
    requests: list = field(default_factory=list)
    tokens: set = field(default_factory=set)


@contextmanager
def serve(hub):
    """Run the hub until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self, hub)

        def do_HEAD(self):
            answer(self, hub)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.ends.set()
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request, hub):
    hub.requests.append(f"{request.command} {request.path}")
    given = request.headers.get("Authorization", "").removeprefix("Bearer ") or None
    hub.tokens.add(given)
    if hub.hang:
        hub.ends.wait(0.3)
        return
    if hub.status is not None:
        send(request, hub.status, b"{}")
        return
    if hub.token is not None and given != hub.token:
        send(request, 401, b'{"error": "Invalid username or password."}')
        return
    path = request.path.split("?")[0]
    resolve = f"/{hub.repo}/resolve/{REVISION}/"
    if path == f"/api/models/{hub.repo}/revision/{REVISION}":
        siblings = [{"rfilename": name} for name in hub.files]
        send(request, 200, json.dumps({"id": hub.repo, "sha": REVISION, "siblings": siblings}))
    elif path.startswith(f"/api/models/{hub.repo}/tree/{REVISION}"):
        entries = [
            {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
            for name, data in hub.files.items()
        ]
        send(request, 200, json.dumps(entries))
    elif path.startswith(resolve) and path.removeprefix(resolve) in hub.files:
        send(request, 200, hub.files[path.removeprefix(resolve)])
    elif path.startswith(f"/api/models/{hub.repo}/"):
        send(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
    else:
        send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})


def send(request, status, body, headers=()):
    data = body.encode() if isinstance(body, str) else body
    request.send_response(status)
    request.send_header("Content-Length", str(len(data)))
    request.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
    request.send_header("X-Repo-Commit", REVISION)
    for name, value in dict(headers).items():
        request.send_header(name, value)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(data)


REFERENCE = f"hf:org/tiny@{REVISION}"


@pytest.fixture
def hub(tiny, monkeypatch):
    files = {path.name: path.read_bytes() for path in tiny.iterdir()}
    files |= {"README.md": b"# read me", "pytorch_model.bin": b"pickle", "onnx/model.onnx": b"x"}
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the client waits between retries
    with serve(Hub(files=files)) as running:
        yield running


def test_a_hub_model_is_fetched_at_its_revision_with_its_token(hub, tiny, tmp_path):
    hub.token = "hf_secret"
    access = HubAccess(hub.endpoint, token="hf_secret")
    assert fetch(REFERENCE, tmp_path / "m", access)
    assert model_digest(find_checkpoint(tmp_path / "m")) == model_digest(find_checkpoint(tiny))
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert names == {path.name for path in tiny.iterdir()} | {"SHA256SUMS.json"}
    assert hub.tokens == {"hf_secret"}
    assert all(REVISION in request for request in hub.requests)
    hub.requests.clear()
    assert not fetch(REFERENCE, tmp_path / "m", access)
    assert hub.requests == []


def test_a_build_takes_its_model_from_a_hub(hub, tiny, tmp_path):
    request = BuildRequest(
        model_name="tiny",
        hugging_face=HuggingFaceSource(repo="org/tiny", revision=REVISION),
        recipe=Recipe(architecture="x86-64-v3"),
        store=str(tmp_path),
    )
    build = Build(request=request, work=work_folder(request), access=HubAccess(hub.endpoint))
    build.work.mkdir(parents=True)
    facts = source.run(build, Facts(), lambda percent, message: None)
    assert facts.model_digest == model_digest(find_checkpoint(tiny))
    assert facts.model_folder == str(build.work / "model")
    assert build.source == {"repo": "org/tiny", "revision": REVISION}


def test_the_line_break_that_a_secret_ends_with_is_no_part_of_it(hub, tmp_path, monkeypatch):
    hub.token = "hf_secret"
    monkeypatch.setenv("HF_TOKEN", "hf_secret\n")
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.endpoint}/\n")
    fetch(REFERENCE, tmp_path / "m", HubAccess.from_environment())
    assert hub.tokens == {"hf_secret"}


@pytest.mark.parametrize("token", ["hf_secret\nhf_other", "hf_secr\u00e9t", "hf_secret hf_other"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_repeated(hub, tmp_path, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(InvalidRequest, match="HF_TOKEN holds a blank, a line break") as info:
        fetch(REFERENCE, tmp_path / "m", HubAccess.from_environment())
    assert "hf_secr" not in str(info.value)


def test_an_endpoint_that_is_empty_is_the_public_one(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "")
    assert HubAccess.from_environment().endpoint == HubAccess().endpoint


def test_a_token_is_not_shown():
    assert "hf_secret" not in repr(HubAccess(token="hf_secret"))


def test_without_a_token_none_is_sent(hub, tmp_path):
    fetch(REFERENCE, tmp_path / "m", HubAccess(hub.endpoint))
    assert hub.tokens == {None}


@pytest.mark.parametrize(
    ("change", "reference", "error", "message"),
    [
        ({"token": "other"}, REFERENCE, InvalidModel, "access refused .401., HF_TOKEN is not set"),
        ({"status": 403}, REFERENCE, InvalidModel, "access refused .403."),
        ({}, f"hf:org/none@{REVISION}", InvalidModel, "no such repository"),
        ({}, f"hf:org/tiny@{'f' * 40}", InvalidModel, "no such revision"),
        ({"status": 500}, REFERENCE, SourceUnavailable, "did not answer"),
    ],
)
def test_what_a_hub_answers_becomes_a_typed_error(hub, tmp_path, change, reference, error, message):
    for name, value in change.items():
        setattr(hub, name, value)
    with pytest.raises(error, match=message):
        download(HubModel.parse(reference), tmp_path, HubAccess(hub.endpoint), timeout=5)


def test_a_refused_token_is_said(hub, tmp_path):
    hub.token = "right"
    with pytest.raises(InvalidModel, match="the token in HF_TOKEN was refused"):
        download(HubModel.parse(REFERENCE), tmp_path, HubAccess(hub.endpoint, "wrong"), timeout=5)


@pytest.mark.slow
def test_a_hub_that_hangs_or_is_away_is_unavailable(hub, tmp_path):
    hub.hang = True
    with pytest.raises(SourceUnavailable, match="did not answer"):
        download(HubModel.parse(REFERENCE), tmp_path, HubAccess(hub.endpoint), timeout=0.2)
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:9 did not answer"):
        download(HubModel.parse(REFERENCE), tmp_path, HubAccess("http://127.0.0.1:9"), timeout=1)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left"), OSError),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), OSError),
        (OSError(errno.EROFS, "Read-only file system", "/store/x"), OSError),
        (PermissionError(errno.EACCES, "Permission denied", "/store/x"), OSError),
        (ConnectionResetError(errno.ECONNRESET, "reset"), SourceUnavailable),
        (ssl.SSLError(1, "CERTIFICATE_VERIFY_FAILED"), SourceUnavailable),
    ],
)
def test_a_folder_that_fails_is_not_told_as_the_hub(tmp_path, monkeypatch, raised, kind):
    def fail(*arguments, **options):
        raise raised

    monkeypatch.setattr(hub_module, "snapshot_download", fail)
    with pytest.raises(kind) as info:
        download(HubModel("org/tiny", REVISION), tmp_path, HubAccess())
    assert (info.value is raised) == (kind is OSError)


def test_a_hub_model_that_is_broken_is_not_put_in_place(hub, tmp_path):
    hub.files["model.safetensors"] = hub.files["model.safetensors"][:1000]
    with pytest.raises(TensorInvalid, match="truncated"):
        fetch(REFERENCE, tmp_path / "m", HubAccess(hub.endpoint))
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ["hf:org/x", "hf:org/x@main", "hf:x@" + "a" * 40, "smollm"])
def test_only_pinned_revisions_are_taken(name, tmp_path):
    with pytest.raises(InvalidRequest, match="40 hex digits"):
        fetch(name, tmp_path / "m", HubAccess())
