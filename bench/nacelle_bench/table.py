"""What a benchmark found: the surroundings it ran in, and rows of figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """Named facts about the run, and rows that all have the same columns.

    decimals  digits after the point where text shows other than one, by column
    others    further rows under a name, each with columns of their own
    groups    columns of the rows that text shows together, a group below the other; all by default
    """

    facts: dict[str, Any]
    rows: Sequence[Row]
    decimals: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    groups: Sequence[Sequence[str]] = ()

    def json(self) -> str:
        """Facts and rows as one JSON object."""
        return json.dumps({**self.facts, "rows": self.rows, **self.others}, indent=1)

    def text(self) -> str:
        """The facts, a line each, and the rows in columns."""
        lines = [f"{name}: {_cell(value)}" for name, value in self.facts.items()]
        for group in self.groups or [list(self.rows[0])]:
            lines += self._columns([{name: row[name] for name in group} for row in self.rows])
        for name, rows in self.others.items():
            lines += ["", f"{name}:", *self._columns(rows)]
        return "\n".join(lines)

    def _columns(self, rows: Sequence[Row]) -> list[str]:
        names = list(rows[0])
        cells = [
            names,
            *([_cell(row[name], self.decimals.get(name, 1)) for name in names] for row in rows),
        ]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        lines = []
        for line in cells:
            first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            lines.append("  ".join([first.strip().ljust(widths[0]), *rest]))
        return lines


def _cell(value: Any, decimals: int = 1) -> str:
    if isinstance(value, float):
        return f"{value:.{decimals}f}"
    return "-" if value is None else str(value)
