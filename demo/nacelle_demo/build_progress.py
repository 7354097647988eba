"""A build's progress, live: one bar a target, until the build is ready or has failed."""

from collections.abc import Callable
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from nacelle_demo.errors import DemoError
from nacelle_demo.kubectl import Kubectl, condition, is_true
from nacelle_demo.waiting import wait_for


def follow_build(kubectl: Kubectl, name: str, namespace: str, *, deadline: float) -> dict[str, Any]:
    """Show every target's stage and percent; gives the EngineBuild once it is Ready."""
    columns = (
        TextColumn("  {task.description:<10}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as bars:
        show = _Bars(bars)

        def look() -> dict[str, Any] | None:
            build = kubectl.get("enginebuild", name, namespace)
            for target in (build or {}).get("status", {}).get("targets", []):
                show.update(target)
            if condition(build, "Stalled"):
                raise DemoError(_why(build))
            return build if is_true(build, "Ready") else None

        return wait_for(f"EngineBuild {name} to be Ready", look, deadline=deadline, pause=1.0)


class _Bars:
    """One bar a target name; a line of its own whenever the stage changes and none is shown."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._stages: dict[str, str] = {}
        self._print: Callable[[str], None] = bars.console.print

    def update(self, target: dict[str, Any]) -> None:
        """Move the target's bar to its stage and percent."""
        name, stage = target["name"], target.get("stage", "")
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=100, note="")
        percent = target.get("percent", 0)
        note = f"{stage:<8} {target.get('message', '')}"
        self._bars.update(self._tasks[name], completed=percent, note=note)
        if not self._bars.console.is_terminal and self._stages.get(name) != stage:
            self._print(f"  {name}: {percent:3d} % {note}")
        self._stages[name] = stage


def _why(build: dict[str, Any] | None) -> str:
    ready = condition(build, "Ready") or {}
    return f"the build failed: {ready.get('reason')}: {ready.get('message')}"
