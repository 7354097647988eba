"""Where snapshots go: drawn live on a terminal, else the lines that changed, else JSON."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from nacelle_cli.status.facts import Snapshot
from nacelle_cli.status.lines import changed
from nacelle_cli.status.screen import screen

Show = Callable[[Snapshot], None]


@contextmanager
def shown(console: Console) -> Iterator[Show]:
    """Draws over the last snapshot on a terminal; elsewhere prints what changed since it."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda snapshot: live.update(screen(snapshot), refresh=True)
        return
    last: list[Snapshot] = []

    def tell(snapshot: Snapshot) -> None:
        for line in changed(last[-1] if last else None, snapshot):
            print(line, file=console.file, flush=True)
        last[:] = [snapshot]

    yield tell


@contextmanager
def as_json(console: Console, *, one_line: bool) -> Iterator[Show]:
    """Prints a JSON document a snapshot that differs from the last, on one line if asked to."""
    last: list[str] = []

    def tell(snapshot: Snapshot) -> None:
        text = snapshot.model_dump_json(by_alias=True, indent=None if one_line else 1)
        if [text] != last:
            print(text, file=console.file, flush=True)
        last[:] = [text]

    yield tell
