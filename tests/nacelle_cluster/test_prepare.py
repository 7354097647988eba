"""`prepare` makes what a cluster needs, before there is one; beside one of the user's, nothing."""

from pathlib import Path

import pytest

from nacelle_cluster import requirements
from nacelle_cluster.__main__ import main
from nacelle_cluster.requirements import MachineFacts

BARE = MachineFacts(
    user_id=1000,
    system="Linux",
    architecture="x86_64",
    free_bytes=10**12,
    tools=frozenset(requirements.NEEDED) - {"gcc"},
    go=(1, 26),
)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("NACELLE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(requirements, "gather", lambda folder: BARE)
    return tmp_path / "cache"


def test_what_the_machine_lacks_is_one_line_and_nothing_is_made(cache, capsys):
    assert main(["prepare"]) == 1
    said = capsys.readouterr().err
    assert said == "error: the cluster needs root (run it with sudo); the tool gcc\n"
    assert not cache.exists()


def test_beside_a_cluster_of_the_users_nothing_is_made(cache, capsys, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/of/the/user")
    assert main(["prepare"]) == 0
    assert capsys.readouterr() == ("", "")
    assert not cache.exists()
