"""Whether a running cluster is well, and if not, what to read."""

from pathlib import Path

from nacelle_cluster import addons, processes
from nacelle_cluster.api import ApiServer
from nacelle_cluster.spec import ClusterSpec


def node_ready(api: ApiServer, spec: ClusterSpec) -> bool:
    """Whether the node's kubelet says that it is Ready."""
    node = api.get(f"/api/v1/nodes/{spec.node_name}") or {}
    conditions = node.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def ended(spec: ClusterSpec) -> list[tuple[str, int]]:
    """The node's programs that ended, with their exit codes."""
    lines = (line.split() for line in _text(spec.exits).splitlines())
    return [(name, int(code)) for name, code in lines]


def runs(spec: ClusterSpec, program: str) -> bool:
    """Whether the running node was asked to run that program."""
    return f'"name": "{program}"' in _text(spec.node_plan)


def problems(spec: ClusterSpec) -> list[str]:
    """Why the cluster cannot be used; empty when it is up and well."""
    if processes.node_pid(spec) is None:
        return ["it is down"]
    if ended_programs := ended(spec):
        # The cause; whatever else fails is what follows from it, and slow to find out.
        return [
            f"{n} ended with {code}: see {spec.logs / f'{n}.log'}" for n, code in ended_programs
        ]
    try:
        api = ApiServer(spec.kubeconfig)
    except FileNotFoundError as error:
        return [f"it goes down, or its files were deleted: there is no {error.filename}"]
    if not api.ready():
        return [f"the API server does not answer: see {spec.logs / 'kube-apiserver.log'}"]
    if not node_ready(api, spec):
        return [f"the node is not Ready: see {spec.logs / 'kubelet.log'}"]
    return [f"not ready: {name}" for name in addons.unready(api)]


def _text(path: Path) -> str:
    """A file of the cluster's folder; `down` may delete it at any moment."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
