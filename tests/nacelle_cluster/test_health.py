"""What is said of a cluster whose files go while it is looked at."""

from pathlib import Path

import pytest

from nacelle_cluster import health, processes
from nacelle_cluster.spec import ClusterSpec


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "node_pid", lambda _: 1)
    return ClusterSpec("test", 7, tmp_path)


def test_a_node_without_its_files_is_told_by_the_file(spec):
    (said,) = health.problems(spec)
    assert said == f"it goes down, or its files were deleted: there is no {spec.kubeconfig}"


def test_files_that_go_while_they_are_looked_for_are_not_there(spec, monkeypatch):
    read_text = Path.read_text

    def read_late(path):
        path.unlink()
        return read_text(path)

    spec.folder.mkdir(parents=True)
    spec.exits.write_text("etcd 1\n")
    spec.node_plan.write_text('{"name": "kwok"}')
    monkeypatch.setattr(Path, "read_text", read_late)
    assert health.ended(spec) == []
    assert not health.runs(spec, "kwok")
