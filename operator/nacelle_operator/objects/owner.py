"""Who an object belongs to: it goes with its owner."""

from collections.abc import Mapping
from typing import Any

from nacelle_operator.api.schema import Resource


def owner_reference(resource: Resource) -> dict[str, Any]:
    """The reference that makes a custom resource an object's controller."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": resource.metadata.name,
        "uid": resource.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def is_controlled_by(resource: Resource, manifest: Mapping[str, Any]) -> bool:
    """Whether the resource is the object's controller."""
    owners = manifest["metadata"].get("ownerReferences") or ()
    return any(o["uid"] == resource.metadata.uid and o.get("controller") for o in owners)


def is_of_a_namesake(owner: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Whether the object's controller is another than `owner`, such as one deleted that had its
    name: what belonged to that goes later than it did.
    """
    owners = manifest["metadata"].get("ownerReferences") or ()
    return any(o["uid"] != owner["metadata"]["uid"] for o in owners if o.get("controller"))
