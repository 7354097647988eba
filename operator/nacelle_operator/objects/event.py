"""An Event of events.k8s.io: what `kubectl describe` shows; the same occurrence is told once."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from nacelle_operator.kinds import EVENT
from nacelle_operator.objects.names import FIELD_MANAGER
from nacelle_operator.plan import Event

# The API's own limits on the fields.
_NOTE_BYTES = 1000
_INSTANCE_LENGTH = 128


def event_manifest(
    event: Event, regarding: Mapping[str, Any], *, now: datetime, instance: str
) -> dict[str, Any]:
    """The object; its name is made of what it says, so saying it again meets a taken name."""
    meta = regarding["metadata"]
    said = f"{meta['uid']}/{meta.get('generation')}/{event.type}/{event.reason}/{event.message}"
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": {
            "name": f"{meta['name'][:200]}.{digest}",
            "namespace": meta["namespace"],
        },
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": FIELD_MANAGER,
        "reportingInstance": instance[:_INSTANCE_LENGTH],
        "action": "Reconcile",
        "reason": event.reason[:128],
        "type": event.type,
        "note": event.message.encode()[:_NOTE_BYTES].decode(errors="ignore"),
        "regarding": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
    }
