"""The node's plan survives the way over the disk; ended programs are told."""

from pathlib import Path

import pytest

from nacelle_cluster.errors import ClusterError, log_tail
from nacelle_cluster.health import ended
from nacelle_cluster.node import NodePlan, read_plan
from nacelle_cluster.programs import Program
from nacelle_cluster.spec import ClusterSpec
from nacelle_cluster.waiting import wait_for


def test_a_plan_is_read_as_it_was_written(tmp_path):
    plan = NodePlan(
        node_name="n",
        node_ip="10.245.0.2",
        host_ip="10.245.0.1",
        search_path="/bin",
        kubeconfig="/k",
        logs="/l",
        exits="/e",
        mounts={"/var/lib/kubelet": "/x"},
        programs=(Program("etcd", ("etcd", "--name=x"), False),),
    )
    plan.write(tmp_path / "node.json")
    assert read_plan(tmp_path / "node.json") == plan


def test_ended_programs_are_named_with_their_codes(tmp_path):
    spec = ClusterSpec("test", 0, tmp_path)
    assert ended(spec) == []
    spec.folder.mkdir(parents=True)
    spec.exits.write_text("etcd -9\nkubelet 1\n")
    assert ended(spec) == [("etcd", -9), ("kubelet", 1)]


def test_a_wait_ends_with_what_it_waited_for_and_why():
    with pytest.raises(ClusterError, match=r"node Ready: not after 0 s\nits log"):
        wait_for("node Ready", lambda: False, 0, explain=lambda: "its log")


def test_the_end_of_a_log_is_shown(tmp_path):
    log = tmp_path / "x.log"
    log.write_text("".join(f"line {n}\n" for n in range(30)))
    assert log_tail(log, 2) == f"last lines of {log}:\n  line 28\n  line 29"
    assert str(tmp_path / "absent") in log_tail(Path(tmp_path / "absent"))
