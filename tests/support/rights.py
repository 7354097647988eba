"""Rights: those that the chart grants, and those that the operator's audited calls needed."""

import contextlib
import json
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from control_plane import ControlPlane

CHART = Path(__file__).parents[2] / "charts" / "nacelle"
HELM = Path(sys.executable).parent / "helm"
RELEASE_NAMESPACE = "nacelle-system"
_RBAC = "rbac.authorization.k8s.io/v1"
_PLURALS = {
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
}


class Right(NamedTuple):
    """One verb on one resource; `namespace` is empty when it holds in all of them."""

    namespace: str
    group: str
    resource: str
    verb: str


def rbac_manifests(*flags: str) -> list[dict[str, Any]]:
    """The chart's roles and bindings as Helm renders them."""
    command = [str(HELM), "template", "nacelle", str(CHART), "-n", RELEASE_NAMESPACE]
    done = subprocess.run(
        [*command, "--kube-version", "1.36", *flags],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    manifests = yaml.load_all(done.stdout, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return [m for m in manifests if m and m["kind"] in _PLURALS]


def granted(manifests: list[dict[str, Any]]) -> set[Right]:
    """What the roles grant."""
    return {
        Right(manifest["metadata"].get("namespace", ""), group, resource, verb)
        for manifest in manifests
        if manifest["kind"] in ("Role", "ClusterRole")
        for rule in manifest["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@contextlib.contextmanager
def given(plane: ControlPlane, manifests: list[dict[str, Any]]) -> Iterator[None]:
    """The roles and bindings in a control plane, and gone again afterwards."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASE_NAMESPACE}}
    with contextlib.suppress(urllib.error.HTTPError):  # from the time before
        plane.call("POST", "/api/v1/namespaces", namespace)
    for manifest in manifests:
        plane.call("POST", _collection(manifest), manifest)
    try:
        yield
    finally:
        # The next operator makes its own.
        plane.call("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/{RELEASE_NAMESPACE}/leases")
        for manifest in manifests:
            plane.call("DELETE", f"{_collection(manifest)}/{manifest['metadata']['name']}")


def _collection(manifest: dict[str, Any]) -> str:
    namespace, plural = manifest["metadata"].get("namespace"), _PLURALS[manifest["kind"]]
    return f"/apis/{_RBAC}/" + (f"namespaces/{namespace}/{plural}" if namespace else plural)


class Called(NamedTuple):
    """The rights that calls were allowed by, and the paths of those that were not allowed."""

    allowed: set[Right]
    forbidden: set[str]


def called(log: str) -> Called:
    """What an audit log tells. An apply that made its object was asked for `create` as well."""
    allowed: set[Right] = set()
    forbidden: set[str] = set()
    for line in log.splitlines():
        event = json.loads(line)
        status, ref = event.get("responseStatus", {}), event.get("objectRef")
        code = status.get("code", 0)
        # That nothing is made any more in a namespace that ends is no question of rights.
        causes = {cause.get("reason") for cause in status.get("details", {}).get("causes", ())}
        if code == 403 and "NamespaceTerminating" not in causes:
            forbidden.add(f"{event['verb']} {event['requestURI']}")
        elif ref:
            resource = "/".join(filter(None, (ref["resource"], ref.get("subresource"))))
            verbs = {event["verb"]} | ({"create"} if code == 201 else set())
            group, namespace = ref.get("apiGroup", ""), ref.get("namespace", "")
            allowed |= {Right(namespace, group, resource, verb) for verb in verbs}
    return Called(allowed, forbidden)
