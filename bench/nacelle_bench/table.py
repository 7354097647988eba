"""What a benchmark found: the surroundings it ran in, and rows of figures."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Named facts about the run, and rows that all have the same columns."""

    facts: dict[str, Any]
    rows: list[dict[str, Any]]

    def json(self) -> str:
        """Facts and rows as one JSON object."""
        return json.dumps({**self.facts, "rows": self.rows}, indent=1)

    def text(self) -> str:
        """The facts, a line each, and the rows in columns."""
        names = list(self.rows[0])
        cells = [names, *([_cell(row[name]) for name in names] for row in self.rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
        lines = [f"{name}: {_cell(value)}" for name, value in self.facts.items()]
        for line in cells:
            first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
            lines.append("  ".join([first.strip().ljust(widths[0]), *rest]))
        return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else "-" if value is None else str(value)
