"""The kinds of objects the operator knows: how the API server addresses each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """One kind: its group and version, and its names."""

    api_version: str
    name: str
    plural: str

    @property
    def group(self) -> str:
        """The API group; empty for core."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version within the group."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None, name: str | None = None, sub: str | None = None) -> str:
        """The URL path of a collection, of an object or of its subresource."""
        parts = ["apis", self.api_version] if self.group else ["api", self.api_version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, sub) if part]
        return "/" + "/".join(parts)


ENGINE_BUILD = Kind("nacelle.dev/v1alpha1", "EngineBuild", "enginebuilds")
ENGINE = Kind("nacelle.dev/v1alpha1", "Engine", "engines")
INFERENCE_DEPLOYMENT = Kind("nacelle.dev/v1alpha1", "InferenceDeployment", "inferencedeployments")

JOB = Kind("batch/v1", "Job", "jobs")
POD = Kind("v1", "Pod", "pods")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
CONTROLLER_REVISION = Kind("apps/v1", "ControllerRevision", "controllerrevisions")
SERVICE = Kind("v1", "Service", "services")
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
HORIZONTAL_POD_AUTOSCALER = Kind(
    "autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"
)
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
# Not watched: a cluster may not know them.
HTTP_ROUTE = Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")
POD_MONITOR = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
SCALED_OBJECT = Kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects")
INFERENCE_POOL = Kind("inference.networking.k8s.io/v1", "InferencePool", "inferencepools")
# Not watched: it goes with the Job that it is made for.
RESOURCE_CLAIM_TEMPLATE = Kind(
    "resource.k8s.io/v1", "ResourceClaimTemplate", "resourceclaimtemplates"
)
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
EVENT = Kind("events.k8s.io/v1", "Event", "events")

# What users write, and what comes of it: what the operator makes, the pods of that, and the
# endpoints of its Services (watched by the managed-by label, which those two inherit).
RESOURCES = (ENGINE_BUILD, ENGINE, INFERENCE_DEPLOYMENT)
CHILDREN = (
    JOB,
    POD,
    DEPLOYMENT,
    CONTROLLER_REVISION,
    SERVICE,
    ENDPOINT_SLICE,
    POD_DISRUPTION_BUDGET,
    HORIZONTAL_POD_AUTOSCALER,
    NETWORK_POLICY,
)
UNWATCHED = (HTTP_ROUTE, POD_MONITOR, SCALED_OBJECT, INFERENCE_POOL)
_BY_TYPE = {
    (kind.api_version, kind.name): kind
    for kind in (*RESOURCES, *CHILDREN, *UNWATCHED, RESOURCE_CLAIM_TEMPLATE, CLAIM, EVENT)
}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """The kind that an object names; KeyError for one the operator does not know."""
    return _BY_TYPE[str(manifest["apiVersion"]), str(manifest["kind"])]
