"""Chart of a layer fused and unfused: time by tokens of a decode step, launches in the names."""

from collections.abc import Sequence
from typing import Final

from nacelle_bench.records import FusionRun, Row
from nacelle_bench.svg import Chart, Series

_TIMES: Final = {"us": "one by one", "graph_us": "in a CUDA graph"}


def fusion_chart(run: FusionRun) -> Chart:
    """us a layer of each way, one by one and in a CUDA graph."""
    series = []
    rows = [row for row in run.rows if row["step"] == "decode"]
    for layer in dict.fromkeys(row["layer"] for row in rows):
        mine = [row for row in rows if row["layer"] == layer]
        for column, how in _TIMES.items():
            points = tuple(
                (float(row["tokens"]), float(row[column]))
                for row in mine
                if row[column] is not None
            )
            if points:
                series.append(Series(f"{layer} {how}: {_launches(mine)} launches", points))
    note = (
        f"{run.gpu}. The same weights and cache; time of a layer, the layers one after the other."
    )
    return Chart("A layer fused and unfused", "tokens in a decode step", "us", tuple(series), note)


def _launches(rows: Sequence[Row]) -> str:
    """The fewest and the most of the rows."""
    counts = sorted(row["launches"] for row in rows)
    least, most = f"{counts[0]:g}", f"{counts[-1]:g}"
    return least if least == most else f"{least} to {most}"
