"""Which nodes an architecture's code runs on: a node affinity over well-known labels, and what a
pod says to be let onto a GPU node."""

from dataclasses import dataclass
from typing import Any

from nacelle_engine.arch import Architecture, levels_that_run
from nacelle_operator.objects import names
from nacelle_operator.objects.gpu_labels import FEATURE_DISCOVERY, GpuLabels

GPU = "nvidia.com/gpu"
GPU_TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}


@dataclass(frozen=True)
class GpuWish:
    """What else of a node's GPU is asked for: one of the products (none: any), and so much memory.

    labels: by which nodes tell of it.
    """

    products: tuple[str, ...] = ()
    memory_mib: int = 0
    labels: GpuLabels = FEATURE_DISCOVERY


def node_affinity(architecture: Architecture, wish: GpuWish) -> dict[str, Any]:
    """The affinity of a pod that runs code of this architecture.

    Nodes without a CPU level on their label are let in when they are amd64: what starts there
    checks the CPU itself and ends with an error of its own.
    """
    terms = _cpu_terms(architecture) if architecture.is_cpu else _gpu_terms(architecture, wish)
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    }


def without_gpu_affinity(labels: GpuLabels) -> dict[str, Any]:
    """The affinity of a builder's pod that needs no GPU: it runs anywhere, best where none is."""
    without = {"matchExpressions": [{"key": labels.major, "operator": "DoesNotExist"}]}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [_is_in(names.ARCH, ["amd64"])]}]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": without}
            ],
        }
    }


def _cpu_terms(architecture: Architecture) -> list[dict[str, Any]]:
    levels = [level.value for level in levels_that_run(architecture)]
    return [
        {"matchExpressions": [_is_in(names.CPU_LEVEL, levels)]},
        {
            "matchExpressions": [
                {"key": names.CPU_LEVEL, "operator": "DoesNotExist"},
                _is_in(names.ARCH, ["amd64"]),
            ]
        },
    ]


def _gpu_terms(architecture: Architecture, wish: GpuWish) -> list[dict[str, Any]]:
    capability = architecture.compute_capability
    assert capability is not None, f"{architecture} has no compute capability"
    labels = wish.labels
    expressions = [
        _is_in(labels.major, [str(capability[0])]),
        _is_in(labels.minor, [str(capability[1])]),
    ]
    if wish.products:
        expressions.append(_is_in(labels.product, list(wish.products)))
    if wish.memory_mib:
        least = {"key": labels.memory, "operator": "Gt", "values": [str(wish.memory_mib - 1)]}
        expressions.append(least)
    return [{"matchExpressions": expressions}]


def _is_in(label: str, values: list[str]) -> dict[str, Any]:
    return {"key": label, "operator": "In", "values": values}
