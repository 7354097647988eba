"""Where progress goes: JSON lines for a log, a bar for a person at a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from nacelle_builder.pipeline import Tell
from nacelle_engine.progress import Progress


def json_line(progress: Progress) -> None:
    """Print one JSON line at once, so that a reader of the log sees it."""
    print(progress.line(), flush=True)


@contextmanager
def sink(bar: bool) -> Iterator[Tell]:
    """JSON lines on stdout, or a bar when `bar`."""
    if not bar:
        yield json_line
        return
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[message]}"),
    )
    with Bar(*columns) as shown:
        task = shown.add_task("source", total=100, message="")

        def tell(progress: Progress) -> None:
            shown.update(
                task,
                completed=progress.percent,
                description=progress.stage,
                message=progress.message,
            )

        yield tell


def on_terminal() -> bool:
    """True when a person reads stdout."""
    return sys.stdout.isatty()
