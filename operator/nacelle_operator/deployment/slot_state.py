"""What a slot's Deployment was told to run, and how far its pods are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nacelle_operator.deployment.history import History
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.objects.controller_revision import Revision
from nacelle_operator.objects.names import ENGINE, REVISION, Slot


@dataclass(frozen=True)
class SlotState:
    """One slot: the revision and number of pods it was told, and how many pods are how far.

    `endpoints`: the pods that the slot's own Service sends requests to.
    `is_observed`: the figures are about what it was told last. `is_stuck`: they have not moved
    within the deadline.
    """

    revision: Revision
    size: int
    exist: int = 0
    ready: int = 0
    updated: int = 0
    endpoints: int = 0
    is_observed: bool = False
    is_stuck: bool = False

    @property
    def answering(self) -> int:
        """Pods that answer and are to stay: what was told just now counts before it is done."""
        return min(self.ready, self.size)

    def is_full(self, revision: Revision, size: int) -> bool:
        """Whether exactly so many pods of exactly this revision exist, and all answer."""
        told = self.revision.number == revision.number and self.size == size
        return told and self.is_observed and {self.exist, self.ready, self.updated} == {size}


def slot_states(observed: Observed, history: History) -> dict[Slot, SlotState]:
    """The slots that have a Deployment."""
    return {
        slot: _state(slot, manifest, history, observed.endpoints.get(slot, 0))
        for slot, manifest in observed.deployments.items()
        if not manifest["metadata"].get("deletionTimestamp")
    }


def _state(slot: Slot, manifest: Mapping[str, Any], history: History, endpoints: int) -> SlotState:
    meta, spec = manifest["metadata"], manifest["spec"]
    status: Mapping[str, Any] = manifest.get("status") or {}
    observed = status.get("observedGeneration", 0) >= meta.get("generation", 0)
    conditions = status.get("conditions") or ()
    return SlotState(
        revision=_revision(slot, manifest, history),
        size=spec.get("replicas", 0),
        exist=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0) if observed else 0,
        endpoints=endpoints,
        is_observed=observed,
        is_stuck=observed
        and any(
            c["type"] == "Progressing" and c.get("reason") == "ProgressDeadlineExceeded"
            for c in conditions
        ),
    )


def _revision(slot: Slot, manifest: Mapping[str, Any], history: History) -> Revision:
    """The revision that the Deployment runs; one that is no longer kept is read off it."""
    labels = manifest["metadata"].get("labels", {})
    number = int(labels.get(REVISION, 0))
    kept = history.numbered(number)
    if kept and kept.slot == slot:
        return kept
    template = manifest["spec"].get("template", {})
    return Revision(number, slot, labels.get(ENGINE, ""), fingerprint="", template=template)
