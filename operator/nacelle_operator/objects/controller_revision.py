"""A ControllerRevision: one rendered pod template, kept so that it is applied as it was."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.kinds import CONTROLLER_REVISION
from nacelle_operator.objects.memory import Memory, annotations, read_memory
from nacelle_operator.objects.metadata import serving_metadata
from nacelle_operator.objects.names import ENGINE, Slot, revision_name


@dataclass(frozen=True)
class Revision:
    """A pod template with what it was rendered from, and what is remembered of its rollout."""

    number: int
    slot: Slot
    engine: str
    fingerprint: str
    template: Mapping[str, Any]
    memory: Memory = field(default_factory=Memory)


def controller_revision(resource: InferenceDeployment, revision: Revision) -> dict[str, Any]:
    """The object that keeps a revision; its data can never change, what is remembered may."""
    name = revision_name(resource.metadata.name, revision.number)
    metadata = serving_metadata(resource, name, **{ENGINE: revision.engine})
    kept = annotations(revision.memory)
    if kept:
        metadata["annotations"] = kept
    return {
        "apiVersion": CONTROLLER_REVISION.api_version,
        "kind": CONTROLLER_REVISION.name,
        "metadata": metadata,
        "revision": revision.number,
        "data": {
            "slot": revision.slot,
            "engine": revision.engine,
            "fingerprint": revision.fingerprint,
            "template": dict(revision.template),
        },
    }


def read_revision(manifest: Mapping[str, Any]) -> Revision:
    """The revision that an object keeps."""
    data = manifest["data"]
    return Revision(
        number=manifest["revision"],
        slot=data["slot"],
        engine=data["engine"],
        fingerprint=data["fingerprint"],
        template=data["template"],
        memory=read_memory(manifest),
    )
