"""How a model gets into a cluster: an image of its checkpoint, copied into a claim by a Job."""

from typing import Any

from nacelle_demo.kubectl import Manifest

MODELS_CLAIM = "models"
ENGINES_CLAIM = "engines"


def namespace(name: str) -> Manifest:
    """The namespace, under the restricted Pod Security level."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    }


def claim(name: str, namespace: str, size: str, storage_class: str | None = None) -> Manifest:
    """A claim of the cluster's default storage class, or of the one named."""
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    if storage_class:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def loader_job(model: str, namespace: str, *, model_image: str, builder_image: str) -> Manifest:
    """The Job that copies a model image's checkpoint to models/<model>, digests verified."""
    container = {
        "name": "load",
        "image": builder_image,
        "args": ["model", "load", "/image/model", f"/models/{model}"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "image", "mountPath": "/image", "readOnly": True},
            {"name": "models", "mountPath": "/models"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "image", "image": {"reference": model_image}},
            {"name": "models", "persistentVolumeClaim": {"claimName": MODELS_CLAIM}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"load-{model}", "namespace": namespace},
        "spec": {"backoffLimit": 2, "activeDeadlineSeconds": 300, "template": {"spec": pod}},
    }


def images_of(job: Manifest) -> list[str]:
    """The images that a Job's pod runs, and those that it mounts."""
    pod = job["spec"]["template"]["spec"]
    mounted = [volume["image"]["reference"] for volume in pod["volumes"] if "image" in volume]
    return [container["image"] for container in pod["containers"]] + mounted
