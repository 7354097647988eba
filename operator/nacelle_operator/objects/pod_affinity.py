"""A serving pod's affinity: what its engine demands of a node, and what the user wishes."""

from collections.abc import Mapping, Sequence
from typing import Any

from nacelle_operator.api.engine import EngineSpec
from nacelle_operator.objects.gpu_labels import FEATURE_DISCOVERY, GpuLabels
from nacelle_operator.objects.node_affinity import GpuWish, node_affinity

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
Term = Mapping[str, Any]


def pod_affinity(
    engine: EngineSpec,
    wished: Mapping[str, Any] | None = None,
    labels: GpuLabels = FEATURE_DISCOVERY,
) -> dict[str, Any]:
    """The user's affinity, with the engine's demand on nodes added to each of its terms."""
    products = (engine.gpu_product,) if engine.gpu_product else ()
    own = node_affinity(engine.architecture, GpuWish(products, labels=labels))
    demanded = own["nodeAffinity"][_REQUIRED]["nodeSelectorTerms"]
    affinity = dict(wished or {})
    node = dict(affinity.get("nodeAffinity") or {})
    terms = (node.get(_REQUIRED) or {}).get("nodeSelectorTerms") or []
    node[_REQUIRED] = {"nodeSelectorTerms": _both(demanded, terms)}
    return {**affinity, "nodeAffinity": node}


def _both(demanded: Sequence[Term], wished: Sequence[Term]) -> list[Term]:
    """Terms that a node meets when it meets one of each list; terms of a list are alternatives."""
    if not wished:
        return list(demanded)
    return [
        {
            **wish,
            "matchExpressions": [*demand["matchExpressions"], *wish.get("matchExpressions", [])],
        }
        for demand in demanded
        for wish in wished
    ]
