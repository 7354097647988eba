"""A cluster for the operator's benchmark: fake nodes by kwok, namespaces, a claim in each."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from nacelle_bench.kwok import playing
from nacelle_bench.operator_api import Api
from nacelle_bench.operator_objects import MARK, NODES, node, stages, store
from nacelle_engine.errors import InvalidRequest, TemporaryError

_SERVED: Final = "/apis/nacelle.dev/v1alpha1/enginebuilds"
_AT_ONCE: Final = 4
# A fake node renews its lease at a quarter of this; Kubernetes waits 50 s for one.
_LEASE_SECONDS: Final = 120
_START_SECONDS: Final = 300.0


@contextlib.contextmanager
def prepared(
    api: Api, kubeconfig: Path, kwok: str, folder: Path, nodes: int, namespaces: int
) -> Iterator[list[str]]:
    """Nodes that are Ready, and the names of namespaces with a claim; all goes at the end."""
    program = shutil.which(kwok)
    if program is None:
        raise InvalidRequest(
            f"--kwok {kwok} is no program: go install sigs.k8s.io/kwok/cmd/kwok@v0.8.0"
        )
    if api.metadata(_SERVED):
        raise InvalidRequest("the cluster has EngineBuilds already: take an empty one")
    names = [f"nacelle-bench-{number}" for number in range(namespaces)]
    numbers = range(nodes)
    flags = (
        f"--manage-nodes-with-annotation-selector={'='.join(MARK)}",
        f"--node-lease-duration-seconds={_LEASE_SECONDS}",
        "--node-ip=192.0.2.1",
        "--cidr=198.18.0.0/16",
    )
    played = playing(program, kubeconfig, folder, stages(), flags)
    with played, ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for name in names:
                _make_namespace(api, name)
            list(pool.map(lambda number: api.call("POST", NODES, node(number)), numbers))
            wait_for("nodes Ready", lambda: api.column(NODES, "Status").count("Ready") >= nodes)
            # Made as not ready: without the controller that sees them ready they stay tainted.
            list(pool.map(lambda number: _untaint(api, number), numbers))
            yield names
        finally:
            for name in names:
                _quietly(api, f"/api/v1/namespaces/{name}")
                _quietly(api, f"/api/v1/persistentvolumes/{name}")
            list(pool.map(lambda number: _quietly(api, f"{NODES}/bench-{number}"), numbers))


def wait_for(what: str, holds: Callable[[], bool], seconds: float = _START_SECONDS) -> None:
    """Look every second until it holds; TemporaryError when it does not in time."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            raise TemporaryError(f"{what}: not within {seconds:.0f} s")
        time.sleep(1.0)


def _make_namespace(api: Api, name: str) -> None:
    meta = {"name": name}
    api.call(
        "POST", "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
    )
    volume, claim = store(name)
    api.call("POST", "/api/v1/persistentvolumes", volume)
    claims = f"/api/v1/namespaces/{name}/persistentvolumeclaims"
    made = api.call("POST", claims, claim)
    # A cluster without the controller that binds them is enough.
    api.call(
        "PUT", f"{claims}/{made['metadata']['name']}/status", {**made, "status": {"phase": "Bound"}}
    )


def _untaint(api: Api, number: int) -> None:
    fields = {"spec": {"taints": None}}
    api.call("PATCH", f"{NODES}/bench-{number}", fields, "application/merge-patch+json")


def _quietly(api: Api, path: str) -> None:
    with contextlib.suppress(TemporaryError):
        api.call("DELETE", path)
