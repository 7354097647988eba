"""A build's progress, live: one bar a target, until the build is ready or has failed."""

from typing import Any

from rich.console import Console

from nacelle_cli.status.facts import snapshot
from nacelle_cli.status.show import shown
from nacelle_demo.errors import DemoError
from nacelle_demo.kubectl import Kubectl, condition, is_true
from nacelle_demo.waiting import wait_for


def follow_build(kubectl: Kubectl, name: str, namespace: str, *, deadline: float) -> dict[str, Any]:
    """Show every target's stage and percent; gives the EngineBuild once it is Ready."""
    with shown(Console()) as show:

        def look() -> dict[str, Any] | None:
            build = kubectl.get("enginebuild", name, namespace)
            show(snapshot(namespace, [build] if build else [], []))
            if is_true(build, "Stalled"):
                raise DemoError(_why(build))
            return build if is_true(build, "Ready") else None

        return wait_for(f"EngineBuild {name} to be Ready", look, deadline=deadline, pause=1.0)


def _why(build: dict[str, Any] | None) -> str:
    ready = condition(build, "Ready") or {}
    return f"the build failed: {ready.get('reason')}: {ready.get('message')}"
