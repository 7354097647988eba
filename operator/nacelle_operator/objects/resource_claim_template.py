"""The ResourceClaimTemplate that the pods of a GPU's Job get their device by.

It belongs to the Job, whose pods wait until it is there, and its name is that Job's alone: another
Job of the same name has another one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from nacelle_operator.api.target import DeviceClaim, Target
from nacelle_operator.kinds import JOB, RESOURCE_CLAIM_TEMPLATE
from nacelle_operator.objects import names


def pod_claim(template: str) -> dict[str, Any]:
    """What a pod's spec says to get its claim."""
    return {"resourceClaims": [{"name": names.GPU_CLAIM, "resourceClaimTemplateName": template}]}


def claim_template_of(job: Mapping[str, Any]) -> str | None:
    """The template that a Job's pods refer to; None when they claim no device."""
    claims = job["spec"]["template"]["spec"].get("resourceClaims") or ()
    return next((str(claim["resourceClaimTemplateName"]) for claim in claims), None)


def resource_claim_template(
    job: Mapping[str, Any], name: str, target: Target, claim: DeviceClaim
) -> dict[str, Any]:
    """The template of one device for a Job that the API server has."""
    meta = job["metadata"]
    device = {
        "deviceClassName": claim.device_class_name,
        "selectors": [{"cel": {"expression": each}} for each in _selectors(target, claim)],
    }
    owner = {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": RESOURCE_CLAIM_TEMPLATE.api_version,
        "kind": RESOURCE_CLAIM_TEMPLATE.name,
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": dict(meta["labels"]),
            "ownerReferences": [owner],
        },
        "spec": {"spec": {"devices": {"requests": [{"name": names.GPU_CLAIM, "exactly": device}]}}},
    }


def _selectors(target: Target, claim: DeviceClaim) -> Iterator[str]:
    """The driver's name first: to ask a device of another one for an attribute is an error, which
    ends the search."""
    capability = target.architecture.compute_capability
    assert capability is not None, f"{target.architecture} has no compute capability"
    attributes = f"device.attributes['{claim.driver}']"
    version = f"{capability[0]}.{capability[1]}.0"
    yield (
        f"device.driver == '{claim.driver}' && "
        f"{attributes}.cudaComputeCapability.compareTo(semver('{version}')) == 0"
    )
    if target.gpu_products:
        products = ", ".join(f"'{product}'" for product in target.gpu_products)
        yield f"{attributes}.productName.replace(' ', '-') in [{products}]"
    yield from claim.selectors
