"""A namespace's resources, read from the cluster that KUBECONFIG names."""

from dataclasses import dataclass
from typing import Any

from nacelle_cli.status.errors import (
    AccessRefused,
    ClusterUnavailable,
    DefinitionsMissing,
    NoCluster,
    NoSuchResource,
)
from nacelle_cli.status.facts import Snapshot, snapshot
from nacelle_operator import errors
from nacelle_operator.cluster import Cluster, read_only
from nacelle_operator.kinds import ENGINE_BUILD, INFERENCE_DEPLOYMENT, Kind

SECONDS = 10.0


@dataclass(frozen=True)
class Reader:
    """Reads one namespace; of one name, or all."""

    cluster: Cluster
    namespace: str
    name: str | None = None

    def read(self) -> Snapshot:
        """What there is now; NoSuchResource when nothing has the name."""
        builds = self._list(ENGINE_BUILD)
        deployments = self._list(INFERENCE_DEPLOYMENT)
        if self.name is None:
            return snapshot(self.namespace, builds, deployments)
        found = snapshot(self.namespace, self._named(builds), self._named(deployments))
        if not found.states:
            raise NoSuchResource(self._missing([*builds, *deployments]))
        return found

    def _named(self, manifests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [raw for raw in manifests if raw["metadata"]["name"] == self.name]

    def _missing(self, manifests: list[dict[str, Any]]) -> str:
        names = ", ".join(sorted({raw["metadata"]["name"] for raw in manifests}))
        others = f"there are {names}" if names else "nor any other; -n names another namespace"
        return (
            f"no EngineBuild and no InferenceDeployment {self.name} in namespace "
            f"{self.namespace}: {others}"
        )

    def _list(self, kind: Kind) -> list[dict[str, Any]]:
        try:
            return self.cluster.list(kind, self.namespace, timeout=SECONDS).items
        except errors.NotFound as error:
            raise DefinitionsMissing(
                f"the cluster does not know {kind.plural}.{kind.group}: install the chart, or "
                "kubectl apply -f crds/"
            ) from error
        except errors.Refused as error:
            raise AccessRefused(
                f"{error}; needed are get and list of {kind.plural}.{kind.group}"
            ) from error
        except errors.OperatorError as error:
            raise ClusterUnavailable(f"the API server does not answer: {error}") from error


def reader(namespace: str | None, name: str | None) -> Reader:
    """A reader of the namespace, or else of the one that the context names."""
    try:
        cluster, own = read_only()
    except errors.NotConfigured as error:
        raise NoCluster(
            f"{error}; let KUBECONFIG name the kubeconfig of the cluster to look at"
        ) from error
    return Reader(cluster, namespace or own, name)
