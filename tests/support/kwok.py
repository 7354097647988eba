"""Nodes that are none, by the kwok of the embedded cluster's programs.

It plays the kubelet of nodes with its annotation: they are Ready, and a builder's pod there runs a
second and ends with what is said of its target.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nacelle_bench.kwok import LOG, playing, stage
from nacelle_cluster.parts import PROGRAMS, PartStore
from nacelle_cluster.settings import read_settings

TAINT = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
LABEL = {"kwok.x-k8s.io/node": "fake"}
TOLERATION = {"key": TAINT["key"], "operator": "Exists", "effect": TAINT["effect"]}


@dataclass(frozen=True)
class End:
    """How the builder of a target ends: its exit code and its termination message."""

    code: int
    message: str


def program() -> Path:
    """The program; built when it is not there."""
    parts = PartStore(read_settings().home)
    parts.ensure((PROGRAMS,), print)
    return parts.program(PROGRAMS, "kwok")


def gpu_node(name: str, product: str, capability: str, memory_mib: int) -> dict[str, Any]:
    """A node with one GPU, labelled as GPU Feature Discovery does."""
    major, minor = capability.split(".")
    labels = {
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
        "nvidia.com/gpu.memory": str(memory_mib),
    }
    node = cpu_node(name)
    node["metadata"]["labels"] |= labels
    for amounts in node["status"].values():
        amounts["nvidia.com/gpu"] = "1"
    return node


def cpu_node(name: str) -> dict[str, Any]:
    """A node without a GPU, with a label of kwok's own."""
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        **LABEL,
    }
    room = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [TAINT]},
        "status": {"capacity": dict(room), "allocatable": dict(room)},
    }


@contextlib.contextmanager
def running(
    kubeconfig: Path, folder: Path, ends: Mapping[str, End], prepared: End
) -> Iterator[None]:
    """kwok at work; `ends` says by target how builders on its nodes end, `prepared` how those do
    that hold no GPU."""
    flags = (
        "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
        "--node-lease-duration-seconds=40",
        "--cidr=198.18.0.0/24",
    )
    stages = (*_node_stages(), *_pod_stages(ends, prepared))
    try:
        with playing(str(program()), kubeconfig, folder, stages, flags):
            yield
    finally:
        print((folder / LOG).read_text()[-5000:])  # shown when the test has failed


def _node_stages() -> Iterator[dict[str, Any]]:
    not_ready = {
        "key": '.status.conditions.[] | select( .type == "Ready" ) | .status',
        "operator": "NotIn",
        "values": ["True"],
    }
    status = """
conditions:
- type: Ready
  status: "True"
  reason: KubeletReady
  message: it is said to be
  lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
addresses:
- {type: InternalIP, address: 198.18.0.1}
"""
    yield stage("node-ready", "Node", [not_ready], {"statusTemplate": status})


def _pod_stages(ends: Mapping[str, End], prepared: End) -> Iterator[dict[str, Any]]:
    stays = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
    goes = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    new = {"key": ".status.startTime", "operator": "DoesNotExist"}
    runs = {"key": ".status.phase", "operator": "In", "values": ["Running"]}
    started = """
phase: Running
startTime: {{ Now | Quote }}
conditions:
- {type: Ready, status: "True", lastTransitionTime: {{ Now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  restartCount: 0
  state: {running: {startedAt: {{ Now | Quote }}}}
{{ end }}
"""
    yield stage("pod-runs", "Pod", [stays, new], {"statusTemplate": started})
    yield stage("pod-goes", "Pod", [goes], {"finalizers": {"empty": True}, "delete": True})
    step, target_label = "nacelle.dev/step", "nacelle.dev/target"
    labelled = {name: ({target_label: name, step: "build"}, end) for name, end in ends.items()}
    labelled["prepare"] = ({step: "prepare"}, prepared)
    for name, (labels, end) in labelled.items():
        assert "'" not in end.message, "it stands in quotes"
        ended = f"""
phase: {"Failed" if end.code else "Succeeded"}
containerStatuses:
{{{{ range .spec.containers }}}}
- name: {{{{ .name | Quote }}}}
  image: {{{{ .image | Quote }}}}
  imageID: ""
  ready: false
  restartCount: 0
  state:
    terminated:
      exitCode: {end.code}
      reason: {"Error" if end.code else "Completed"}
      message: '{end.message}'
      startedAt: {{{{ Now | Quote }}}}
      finishedAt: {{{{ Now | Quote }}}}
{{{{ end }}}}
"""
        ending = stage(f"{name}-ends", "Pod", [stays, runs], {"statusTemplate": ended})
        ending["spec"]["selector"]["matchLabels"] = labels
        ending["spec"]["delay"] = {"durationMilliseconds": 1000}
        yield ending
