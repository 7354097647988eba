"""A snapshot drawn for a terminal: a bar a target, and what each resource says."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nacelle_cli.status.facts import Build, Phase, Snapshot, State, Target
from nacelle_cli.status.lines import PHASES, advice, note, nothing, served

_BAR = 30
_STYLES: dict[Phase, str] = {
    "Unseen": "yellow",
    "UnderWay": "cyan",
    "Held": "yellow",
    "Failed": "bold red",
    "Ready": "green",
}


def screen(snapshot: Snapshot) -> RenderableType:
    """The whole of it."""
    parts = [*_builds(snapshot), *_deployments(snapshot)]
    return Group(*parts) if parts else Text(nothing(snapshot))


def _builds(snapshot: Snapshot) -> Iterator[RenderableType]:
    for build in snapshot.builds:
        yield _heading("EngineBuild", build.name, build.state)
        yield _indented(_bars(build))
        yield from (_indented(line) for target in build.targets for line in _sentences(target))


def _bars(build: Build) -> RenderableType:
    """One bar a target, and a few words beside it."""
    table = Table.grid(padding=(0, 1))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(width=_BAR)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for target in build.targets:
        style = _STYLES[target.state.phase]
        bar = ProgressBar(
            total=100,
            completed=target.percent,
            width=_BAR,
            complete_style=style,
            finished_style=style,
        )
        said = Text(target.state.reason if _needs_room(target) else note(target), style=style)
        table.add_row(target.name, target.architecture, bar, f"{target.percent} %", said)
    return table


def _sentences(target: Target) -> Iterator[Text]:
    """What is too long to stand beside a bar."""
    if _needs_room(target):
        style = _STYLES["Failed"] if target.state.phase == "Failed" else ""
        yield Text(f"{target.name}: {note(target)}", style=style)
    if said := advice(target):
        yield Text(f"{target.name}: to do: {said}")


def _needs_room(target: Target) -> bool:
    works = target.state.phase == "UnderWay" and target.stage
    return not works and target.state.phase != "Ready"


def _deployments(snapshot: Snapshot) -> Iterator[RenderableType]:
    for deployment in snapshot.deployments:
        yield _heading("InferenceDeployment", deployment.name, deployment.state)
        yield _indented(Text(served(deployment)))


def _heading(kind: str, name: str, state: State) -> Text:
    told = (f" {PHASES[state.phase]}", _STYLES[state.phase])
    return Text.assemble((f"{kind} {name}", "bold"), told, f" {state.reason}: {state.message}")


def _indented(part: RenderableType) -> RenderableType:
    return Padding(part, (0, 0, 0, 2))
