"""Which control groups are the cluster's, in both versions."""

from pathlib import Path

import pytest

from nacelle_cluster import cgroups
from nacelle_cluster.spec import ClusterSpec

SPEC = ClusterSpec("test", 3, Path("/home"))


@pytest.fixture
def version_1(tmp_path):
    for name in ("cpu,cpuacct", "memory"):
        (tmp_path / name).mkdir()
    for name in ("cpu", "cpuacct"):
        (tmp_path / name).symlink_to("cpu,cpuacct")
    return tmp_path


@pytest.fixture
def version_2(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "system.slice").mkdir()
    return tmp_path


def test_version_1_has_one_in_each_hierarchy_and_none_twice(version_1):
    names = ["cpu,cpuacct/nacelle3", "memory/nacelle3"]
    assert cgroups.folders(SPEC, version_1) == [version_1 / name for name in names]


def test_what_is_created_is_listed_and_removed_with_all_below(version_1):
    cgroups.create(SPEC, version_1)
    (version_1 / "memory/nacelle3/kubepods/pod1").mkdir(parents=True)
    assert len(cgroups.leftovers(SPEC, version_1)) == 2
    cgroups.remove(SPEC, version_1)
    assert cgroups.leftovers(SPEC, version_1) == []
    assert (version_1 / "memory").is_dir()


def test_version_2_has_one_at_the_root(version_2):
    assert cgroups.folders(SPEC, version_2) == [version_2 / "nacelle3"]


def test_version_2_hands_every_controller_down(version_2):
    group = version_2 / "nacelle3"
    group.mkdir()
    (group / "cgroup.controllers").touch()  # the kernel makes it with the folder
    cgroups.create(SPEC, version_2)
    for level in (version_2, group):
        assert (level / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


@pytest.mark.parametrize(("name", "weight"), [("cpu.shares", "2048"), ("cpu.weight", "200")])
def test_pods_outweigh_what_runs_beside_the_cluster(version_1, name, weight):
    group = version_1 / "cpu,cpuacct/nacelle3"
    group.mkdir()
    (group / name).touch()
    cgroups.create(SPEC, version_1)
    assert (group / name).read_text() == weight
    assert not (version_1 / "memory/nacelle3" / name).exists()
