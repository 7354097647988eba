"""Charts of servers under load: rate and latency by how many requests run at once."""

from collections.abc import Sequence

from nacelle_bench.records import PeerRun, Row, ServeRun
from nacelle_bench.svg import Chart, Point, Series


def serve_charts(runs: Sequence[ServeRun], peers: Sequence[PeerRun]) -> dict[str, Chart]:
    """File name -> chart, of what there are figures for."""
    rates = [
        Series(_name(run), points) for run in runs if (points := _points(run.rows, "output_tok_s"))
    ]
    latencies = [
        Series(f"{_name(run)}, {of}", points)
        for run in runs
        for of, column in (("mean", "itl_ms_mean"), ("99th percentile", "itl_ms_p99"))
        if (points := _points(run.rows, column))
    ]
    conditions = " ".join(f"{peer.name}: {peer.conditions}." for peer in peers)
    across, made = "requests at once", {}
    if rates:
        title = "Tokens answered a second"
        made["serve-rate.svg"] = Chart(title, across, "tokens/s", tuple(rates))
    if not latencies:
        return made
    latencies += [
        Series(peer.name, tuple((float(row["batch"]), float(row["step_ms"])) for row in peer.rows))
        for peer in peers
    ]
    title = "Time between the tokens of an answer"
    made["serve-latency.svg"] = Chart(title, across, "ms", tuple(latencies), conditions)
    return made


def _name(run: ServeRun) -> str:
    return f"{run.name}: {run.prompt} in, {run.answer} out"


def _points(rows: Sequence[Row], column: str) -> tuple[Point, ...]:
    """Of the rows that kept a number of requests running, where the column has a figure."""
    return tuple(
        (float(row["concurrency"]), float(row[column]))
        for row in rows
        if row["concurrency"] and row.get(column) is not None
    )
