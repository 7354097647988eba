"""The Jobs that belong to an Engine: one verifies an imported bundle, one deletes its folder."""

import json
from collections.abc import Sequence
from typing import Any

from nacelle_operator.api.engine import Engine
from nacelle_operator.kinds import JOB
from nacelle_operator.objects import names
from nacelle_operator.objects.job_pod import STORE_MOUNT, JobPod, Mount, failure_policy, store_mount
from nacelle_operator.objects.owner import owner_reference

INSPECT_PART = "inspector"
SWEEP_PART = "sweeper"
INSPECT_SECONDS = 3600
SWEEP_SECONDS = 600
_RESOURCES = {"requests": {"cpu": "100m", "memory": "256Mi"}}
# The manifest goes first, so that a folder half deleted is never read as a bundle.
_SWEEP = 'rm -f -- "$1/manifest.json" && rm -rf -- "$1"'


def inspect_job(engine: Engine, image: str) -> dict[str, Any]:
    """The Job that checks a bundle's digests and reports what the bundle is."""
    command = (
        "nacelle",
        "verify",
        _folder(engine),
        "--files-only",
        "--expect",
        json.dumps(_expected(engine), sort_keys=True),
        "--result-file",
        "/dev/termination-log",
    )
    store = _store(engine)
    read_only = Mount(store.name, store.path, store.volume, read_only=True)
    pod = JobPod(image, command, INSPECT_SECONDS, mounts=(read_only,), resources=_RESOURCES)
    name = names.inspect_job_name(engine.spec.key)
    return _job(engine, name, INSPECT_PART, pod)


def sweep_job(engine: Engine, image: str) -> dict[str, Any]:
    """The Job that deletes the engine's folder."""
    command: Sequence[str] = ("sh", "-c", _SWEEP, "sweep", _folder(engine))
    pod = JobPod(image, command, SWEEP_SECONDS, mounts=(_store(engine),), resources=_RESOURCES)
    return _job(engine, names.sweep_job_name(engine.spec.key), SWEEP_PART, pod)


def _expected(engine: Engine) -> dict[str, Any]:
    fields = engine.spec.plain()
    names_of_bundle = ("key", "architecture", "abi", "limits", "digest", "bytes")
    return {name: fields[name] for name in names_of_bundle}


def _folder(engine: Engine) -> str:
    return f"{STORE_MOUNT}/{engine.spec.path}"


def _store(engine: Engine) -> Mount:
    return store_mount(engine.spec.store.persistent_volume_claim.claim_name)


def _job(engine: Engine, name: str, part: str, pod: JobPod) -> dict[str, Any]:
    labels = {**names.managed_labels(part), names.ENGINE: engine.metadata.name}
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.name,
        "metadata": {
            "name": name,
            "namespace": engine.metadata.namespace,
            "labels": labels,
            "ownerReferences": [owner_reference(engine)],
        },
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": pod.deadline_seconds,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": failure_policy(),
            "template": {"metadata": {"labels": labels}, "spec": pod.spec()},
        },
    }
