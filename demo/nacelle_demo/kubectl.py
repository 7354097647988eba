"""kubectl with one kubeconfig: what a user types, and JSON back."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nacelle_demo.errors import DemoError

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """Runs one kubectl binary against one cluster; every call has a deadline in seconds."""

    kubeconfig: Path
    binary: str = "kubectl"
    deadline: float = 60.0

    def run(self, *arguments: str, stdin: str | None = None, deadline: float | None = None) -> str:
        """Standard output of one call; DemoError carries kubectl's own words."""
        done = self.attempt(*arguments, stdin=stdin, deadline=deadline)
        if done.returncode != 0:
            raise DemoError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def attempt(
        self, *arguments: str, stdin: str | None = None, deadline: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One call whatever its exit code; for calls that are meant to be refused."""
        limit = deadline or self.deadline
        command = [self.binary, "--kubeconfig", str(self.kubeconfig), *arguments]
        try:
            return subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"kubectl {' '.join(arguments)}: no answer in {limit:.0f} s") from error

    def apply(self, *manifests: Manifest) -> str:
        """Apply objects given as plain dicts."""
        return self.run("apply", "-f", "-", stdin=to_yaml(manifests))

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """One object as JSON, or None when there is none of that name."""
        text = self.run("-n", namespace, "get", kind, name, "-o", "json", "--ignore-not-found")
        found: dict[str, Any] | None = json.loads(text) if text.strip() else None
        return found

    def items(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Every object of a kind in a namespace, narrowed by labels."""
        text = self.run("-n", namespace, "get", kind, "-o", "json", "-l", selector)
        items: list[dict[str, Any]] = json.loads(text)["items"]
        return items


def to_yaml(manifests: Sequence[Manifest]) -> str:
    """Objects as one YAML stream."""
    return yaml.safe_dump_all(manifests, sort_keys=False)


def condition(resource: Manifest | None, kind: str) -> dict[str, Any] | None:
    """The condition of that type in an object's status, or None."""
    found: list[dict[str, Any]] = (resource or {}).get("status", {}).get("conditions", [])
    return next((entry for entry in found if entry["type"] == kind), None)


def is_true(resource: Manifest | None, kind: str) -> bool:
    """True when the condition holds for the object's present generation."""
    found = condition(resource, kind)
    if resource is None or found is None or found["status"] != "True":
        return False
    generation: int = resource["metadata"]["generation"]
    return bool(found.get("observedGeneration", generation) == generation)
