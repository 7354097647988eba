"""Kinds that a cluster may not know, as their makers define them, out of their Go modules."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from control_plane import ControlPlane

PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class Origin(NamedTuple):
    """A group's module, pinned by its checksum, and the folder of its definitions."""

    group: str
    module: str
    sum: str
    folder: str

    def definition(self, plural: str) -> dict[str, Any]:
        """The CustomResourceDefinition of one kind, as it is published."""
        command = ["go", "mod", "download", "-json", self.module]
        done = subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=120)
        told = json.loads(done.stdout)
        assert told["Sum"] == self.sum, told
        text = (Path(told["Dir"]) / self.folder / f"{self.group}_{plural}.yaml").read_text()
        found: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return found


GATEWAY_API = Origin(
    "gateway.networking.k8s.io",
    "sigs.k8s.io/gateway-api@v1.6.1",
    "h1:mock6phZbI6rvZerwrVNk7hVNymQgHo+6sJ81Ia7ftY=",
    "config/crd/standard",
)
PROMETHEUS_OPERATOR = Origin(
    "monitoring.coreos.com",
    "github.com/prometheus-operator/prometheus-operator@v0.85.0",
    "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
    "example/prometheus-operator-crd",
)
KEDA = Origin(
    "keda.sh",
    "github.com/kedacore/keda/v2@v2.21.0",
    "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
    "config/crd/bases",
)


@contextlib.contextmanager
def installed(
    plane: ControlPlane, until: Callable[..., Any], origin: Origin, *plurals: str
) -> Iterator[None]:
    """The kinds in a control plane, and gone again afterwards."""
    with defined(plane, until, *map(origin.definition, plurals)):
        yield


@contextlib.contextmanager
def defined(
    plane: ControlPlane, until: Callable[..., Any], *definitions: dict[str, Any]
) -> Iterator[None]:
    """The kinds of these definitions in a control plane, and gone again afterwards."""
    for definition in definitions:
        plane.call("POST", PATH, definition)
    names = {definition["metadata"]["name"] for definition in definitions}
    until(lambda: names <= {n for n, found in _known(plane).items() if _is_served(found)})
    try:
        yield
    finally:
        for name in names:
            plane.call("DELETE", f"{PATH}/{name}")
        until(lambda: not names & _known(plane).keys())


def _known(plane: ControlPlane) -> dict[str, dict[str, Any]]:
    return {found["metadata"]["name"]: found for found in plane.call("GET", PATH)["items"]}


def _is_served(found: dict[str, Any]) -> bool:
    conditions = found.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
