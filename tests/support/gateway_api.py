"""The Gateway API's own definitions of its kinds, out of its Go module."""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from control_plane import ControlPlane

MODULE = "sigs.k8s.io/gateway-api@v1.6.1"
PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SUM = "h1:mock6phZbI6rvZerwrVNk7hVNymQgHo+6sJ81Ia7ftY="


def definition(plural: str) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind, as its makers publish it."""
    command = ["go", "mod", "download", "-json", MODULE]
    done = subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=120)
    told = json.loads(done.stdout)
    assert told["Sum"] == SUM, told
    file = f"gateway.networking.k8s.io_{plural}.yaml"
    text = (Path(told["Dir"]) / "config" / "crd" / "standard" / file).read_text()
    found: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return found


@contextlib.contextmanager
def installed(plane: ControlPlane, until: Callable[..., Any], *plurals: str) -> Iterator[None]:
    """The kinds in a control plane, and gone again afterwards."""
    for plural in plurals:
        plane.call("POST", PATH, definition(plural))
    names = {f"{plural}.gateway.networking.k8s.io" for plural in plurals}
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
