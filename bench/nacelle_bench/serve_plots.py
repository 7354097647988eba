"""Charts of servers under load: rate and latency by how many requests run at once."""

from collections.abc import Sequence

from nacelle_bench.records import PeerRun, Row, ServeRun
from nacelle_bench.svg import Chart, Point, Series


def serve_charts(runs: Sequence[ServeRun], peers: Sequence[PeerRun]) -> dict[str, Chart]:
    """File name -> chart; none without a run that kept requests running."""
    rates = [Series(_name(run), _points(run.rows, "output_tok_s")) for run in runs]
    rates = [one for one in rates if one.points]
    if not rates:
        return {}
    latencies = [
        Series(f"{_name(run)}, {of}", points)
        for run in runs
        for of, column in (("mean", "itl_ms_mean"), ("99th percentile", "itl_ms_p99"))
        if (points := _points(run.rows, column))
    ]
    latencies += [
        Series(peer.name, tuple((float(row["batch"]), float(row["step_ms"])) for row in peer.rows))
        for peer in peers
    ]
    conditions = " ".join(f"{peer.name}: {peer.conditions}." for peer in peers)
    across = "requests at once"
    return {
        "serve-rate.svg": Chart("Tokens answered a second", across, "tokens/s", tuple(rates)),
        "serve-latency.svg": Chart(
            "Time between the tokens of an answer", across, "ms", tuple(latencies), conditions
        ),
    }


def _name(run: ServeRun) -> str:
    return f"{run.name}: {run.prompt} in, {run.answer} out"


def _points(rows: Sequence[Row], column: str) -> tuple[Point, ...]:
    """Of the rows that kept a number of requests running, where the column has a figure."""
    return tuple(
        (float(row["concurrency"]), float(row[column]))
        for row in rows
        if row["concurrency"] and row[column] is not None
    )
