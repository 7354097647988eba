"""The Gateway API's own definitions of its kinds, out of its Go module."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

MODULE = "sigs.k8s.io/gateway-api@v1.6.1"
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
