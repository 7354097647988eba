"""Whose cluster it is, and what the commands say when it cannot be used."""

import pytest

from nacelle_cluster.__main__ import main
from nacelle_cluster.connection import external
from nacelle_cluster.errors import ClusterError
from nacelle_cluster.images import ImageContent, write_layout
from nacelle_cluster.registry import Registry
from nacelle_cluster.settings import Settings


@pytest.fixture
def kubeconfig(tmp_path, monkeypatch):
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    kubectl.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(kubectl.parent))
    (tmp_path / "config").touch()
    return tmp_path / "config"


def test_without_kubeconfig_the_cluster_is_ours(tmp_path):
    assert external(Settings(tmp_path, "x", registry="r:5000")) is None


def test_kubeconfig_without_registry_is_refused_in_one_line(tmp_path, kubeconfig):
    with pytest.raises(
        ClusterError, match=r"^KUBECONFIG is set and REGISTRY is not: .*$"
    ) as caught:
        external(Settings(tmp_path, "x", kubeconfig=str(kubeconfig)))
    assert "\n" not in str(caught.value)


def test_a_kubeconfig_that_is_no_file_is_named(tmp_path, kubeconfig):
    with pytest.raises(ClusterError, match="/absent"):
        external(Settings(tmp_path, "x", kubeconfig="/absent", registry="r"))


@pytest.mark.parametrize(
    ("registry", "told", "plain"),
    [
        ("localhost:5001", False, True),
        ("127.0.0.1:5001/team", False, True),
        ("registry.example:5000", True, True),
        ("registry.example/team", False, False),
    ],
)
def test_a_registry_speaks_tls_unless_local_or_told(tmp_path, kubeconfig, registry, told, plain):
    settings = Settings(tmp_path, "x", str(kubeconfig), registry, registry_plain_http=told)
    cluster = external(settings)
    assert cluster.registry == Registry(registry, plain_http=plain)
    assert cluster.kubeconfig == kubeconfig


def test_a_registry_that_does_not_answer_is_named(tmp_path):
    (tmp_path / "file").touch()
    layout = write_layout(ImageContent({"file": tmp_path / "file"}, {}), tmp_path / "layout")
    with pytest.raises(ClusterError, match=r"registry 127\.0\.0\.1:1: .*refused"):
        Registry("127.0.0.1:1", plain_http=True).push(layout, "x", "1")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["status"], 1, "cluster absent: it was never up"),
        (["down"], 0, "cluster absent is down"),
        (["check"], 0, ""),
        (["env"], 1, "error: cluster absent cannot be used: it was never up"),
    ],
)
def test_commands_on_a_cluster_that_never_was(tmp_path, monkeypatch, capsys, words, code, said):
    monkeypatch.setenv("NACELLE_CACHE", str(tmp_path))
    assert main(["--name", "absent", *words]) == code
    out, err = capsys.readouterr()
    assert said in out + err
    assert list(tmp_path.iterdir()) == []
