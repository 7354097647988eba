"""The cache was deleted while its cluster was up: the cluster is known, and goes, all the same."""

import shutil

import pytest

from nacelle_cluster import cgroups, cluster, network, processes
from nacelle_cluster.cluster import Embedded
from nacelle_cluster.machine import Machine


@pytest.fixture
def running(tmp_path, monkeypatch):
    """The node's processes, as long as nobody ends them; and the machine."""
    machine, left = Machine(tmp_path / "run", tmp_path / "proc", ()), ["process 1 (node)"]
    monkeypatch.setattr(cluster, "Machine", lambda: machine)
    monkeypatch.setattr(processes, "leftovers", lambda _: left)
    monkeypatch.setattr(processes, "kill_node", lambda _: left.clear())
    for module, taking_down in ((network, "disconnect"), (cgroups, "remove")):
        monkeypatch.setattr(module, "leftovers", lambda _: [])
        monkeypatch.setattr(module, taking_down, lambda _: None)
    machine.claim("one", tmp_path / "home")
    shutil.rmtree(tmp_path / "home")
    return left


def test_what_runs_is_told(running, tmp_path):
    assert Embedded("one", tmp_path / "home").leftovers() == ["process 1 (node)", "number 0"]
    assert Embedded("other", tmp_path / "home").leftovers() == []
    assert Embedded("one", tmp_path / "elsewhere").leftovers() == []


def test_down_takes_it_down(running, tmp_path):
    commands = Embedded("one", tmp_path / "home")
    commands.down(wipe=True)
    assert running == []
    assert commands.leftovers() == []
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
