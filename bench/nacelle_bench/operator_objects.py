"""What the operator's benchmark puts into a cluster: fake nodes, claims, builds, deployments."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from nacelle_bench.kwok import stage
from nacelle_engine.abi import ABI
from nacelle_engine.result import Prepared, Published, Result
from nacelle_operator.objects import names

Manifest = dict[str, Any]
# A fake node's annotation, by which kwok knows it, and its label, by which pods do.
MARK: Final = ("kwok.x-k8s.io/node", "fake")
CLAIM: Final = "engines"
NODES: Final = "/api/v1/nodes"
# How long the pod of either of a build's Jobs runs.
BUILDER_SECONDS: Final = 1
_API: Final = "nacelle.dev/v1alpha1"


class Gpu(NamedTuple):
    """A GPU as GPU Feature Discovery labels it, and the target that is built for it."""

    product: str
    capability: str
    memory_mib: int
    architecture: str


GPUS: Final = (
    Gpu("NVIDIA-H100-80GB-HBM3", "9.0", 81559, "sm_90"),
    Gpu("NVIDIA-H200", "9.0", 143771, "sm_90"),
    Gpu("NVIDIA-A100-SXM4-80GB", "8.0", 81920, "sm_80"),
    Gpu("NVIDIA-L40S", "8.9", 46068, "sm_89"),
)


def node(number: int) -> Manifest:
    """A node of eight GPUs, which kwok says is there."""
    gpu, name = GPUS[number % len(GPUS)], f"bench-{number}"
    major, minor = gpu.capability.split(".")
    room = {"cpu": "128", "memory": "1Ti", "pods": "110", "nvidia.com/gpu": "8"}
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "nvidia.com/gpu.product": gpu.product,
        "nvidia.com/gpu.compute.major": major,
        "nvidia.com/gpu.compute.minor": minor,
        "nvidia.com/gpu.memory": str(gpu.memory_mib),
        **dict([MARK]),
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": dict([MARK])},
        "status": {"capacity": room, "allocatable": room},
    }


def store(namespace: str) -> tuple[Manifest, Manifest]:
    """A volume and the namespace's claim, bound to each other: nobody provisions anything."""
    common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": namespace},
        "spec": {
            **common,
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/nowhere"},
            "claimRef": {"namespace": namespace, "name": CLAIM},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {
            **common,
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": namespace,
        },
    }
    return volume, claim


@dataclass(frozen=True)
class Pair:
    """One build and the deployment that serves it, both of the same name."""

    namespace: str
    number: int

    @property
    def name(self) -> str:
        """Their name."""
        return f"bench-{self.number}"

    def path(self, plural: str) -> str:
        """Where one of them is."""
        return f"/apis/{_API}/namespaces/{self.namespace}/{plural}/{self.name}"

    def build(self) -> Manifest:
        """A build of one target that no other asks for."""
        gpu = GPUS[self.number % len(GPUS)]
        revision = f"{self.number:040x}"
        return {
            "apiVersion": _API,
            "kind": "EngineBuild",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "modelName": "bench",
                "model": {"huggingFace": {"repo": "org/bench", "revision": revision}},
                "targets": [
                    {
                        "name": "gpu",
                        "architecture": gpu.architecture,
                        "gpuProducts": [gpu.product],
                        # Nodes without a GPU are liked better: real ones, if there are any.
                        "prepare": {"nodeSelector": dict([MARK])},
                    }
                ],
                "store": {"persistentVolumeClaim": {"claimName": CLAIM}},
            },
        }

    def deployment(self) -> Manifest:
        """One pod of the build's engine."""
        return {
            "apiVersion": _API,
            "kind": "InferenceDeployment",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": {
                "engine": {"buildRef": {"name": self.name, "target": "gpu"}},
                "replicas": 1,
            },
        }


def stages() -> Iterator[Manifest]:
    """What kwok plays: nodes are ready, pods run at once, builders of both Jobs end after a second.

    A builder's engine has the key that its label begins, twice: no two are the same.
    """
    yield stage(
        "node-ready", "Node", [_other(".status.phase", "Running")], {"statusTemplate": _NODE}
    )
    goes = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
    stays = {**goes, "operator": "DoesNotExist"}
    new = {"key": ".status.startTime", "operator": "DoesNotExist"}
    yield stage("pod-runs", "Pod", [stays, new], {"statusTemplate": _RUNNING})
    yield stage("pod-goes", "Pod", [goes], {"finalizers": {"empty": True}, "delete": True})
    for step, message in _messages().items():
        running = {"key": ".status.phase", "operator": "In", "values": ["Running"]}
        template = _ENDED.replace("MESSAGE", message)
        ends = stage(f"{step}-ends", "Pod", [stays, running], {"statusTemplate": template})
        ends["spec"]["selector"]["matchLabels"] = {names.PART: "builder", names.STEP: step}
        ends["spec"]["delay"] = {"durationMilliseconds": BUILDER_SECONDS * 1000}
        yield ends


def _messages() -> dict[str, str]:
    """What the builder of each step says at its end, as templates over $labels."""
    digits = "0" * 64
    published = Published(
        engine_key=digits, path=f"engines/{digits}", digest=digits, bytes=8 << 30, abi=ABI
    )
    label = f'{{{{ index $labels "{names.REQUEST_KEY}" }}}}'
    return {
        names.PREPARE: Result(prepared=Prepared(until="convert")).message(),
        names.BUILD_STEP: Result(published=published).message().replace(digits, label * 2),
    }


def _other(key: str, value: str) -> Manifest:
    return {"key": key, "operator": "NotIn", "values": [value]}


_NODE: Final = """
phase: Running
conditions:
- type: Ready
  status: "True"
  reason: KubeletReady
  message: it is said to be
  lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
"""
_RUNNING: Final = """
phase: Running
startTime: {{ Now | Quote }}
podIP: 198.18.0.9
podIPs: [{ip: 198.18.0.9}]
conditions:
- {type: Ready, status: "True", lastTransitionTime: {{ Now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ Now | Quote }}}
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
_ENDED: Final = """
{{ $labels := .metadata.labels }}
phase: Succeeded
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  restartCount: 0
  state:
    terminated:
      exitCode: 0
      reason: Completed
      message: 'MESSAGE'
      startedAt: {{ Now | Quote }}
      finishedAt: {{ Now | Quote }}
{{ end }}
"""
