"""kstatus' rules for a custom resource, as its documentation gives them.

Source: pkg/kstatus of kubernetes-sigs/cli-utils, which Flux and kpt judge resources by. In this
order: a deletion timestamp; metadata.generation against status.observedGeneration, if there is one;
the conditions Reconciling and Stalled, whichever is True first; the condition Ready; else Current.
"""

from collections.abc import Mapping
from typing import Any


def kstatus(resource: Mapping[str, Any]) -> str:
    """Terminating, InProgress, Failed or Current."""
    meta, status = resource["metadata"], resource.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating"
    observed = status.get("observedGeneration")
    if observed is not None and observed != meta["generation"]:
        return "InProgress"
    conditions = status.get("conditions", ())
    for condition in conditions:
        if condition["status"] == "True" and condition["type"] in ("Reconciling", "Stalled"):
            return "InProgress" if condition["type"] == "Reconciling" else "Failed"
    for condition in conditions:
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"
