"""Which nodes an architecture's code runs on: a node affinity over well-known labels, and what a
pod says to be let onto a GPU node."""

from collections.abc import Iterable
from typing import Any

from nacelle_engine.arch import Architecture, levels_that_run
from nacelle_operator.objects import names

GPU = "nvidia.com/gpu"
GPU_TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
GPU_PRODUCT = "nvidia.com/gpu.product"
GPU_MAJOR = "nvidia.com/gpu.compute.major"
GPU_MINOR = "nvidia.com/gpu.compute.minor"


def node_affinity(architecture: Architecture, gpu_products: Iterable[str] = ()) -> dict[str, Any]:
    """The affinity of a pod that runs code of this architecture.

    Nodes without a CPU level on their label are let in when they are amd64: what starts there
    checks the CPU itself and ends with an error of its own.
    """
    terms = (
        _cpu_terms(architecture)
        if architecture.is_cpu
        else _gpu_terms(architecture, tuple(gpu_products))
    )
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    }


def without_gpu_affinity() -> dict[str, Any]:
    """The affinity of a builder's pod that needs no GPU: it runs anywhere, best where none is."""
    without = {"matchExpressions": [{"key": GPU_MAJOR, "operator": "DoesNotExist"}]}
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


def _gpu_terms(architecture: Architecture, products: tuple[str, ...]) -> list[dict[str, Any]]:
    capability = architecture.compute_capability
    assert capability is not None, f"{architecture} has no compute capability"
    expressions = [
        _is_in(GPU_MAJOR, [str(capability[0])]),
        _is_in(GPU_MINOR, [str(capability[1])]),
    ]
    if products:
        expressions.append(_is_in(GPU_PRODUCT, list(products)))
    return [{"matchExpressions": expressions}]


def _is_in(label: str, values: list[str]) -> dict[str, Any]:
    return {"key": label, "operator": "In", "values": values}
