"""Charts of both backends: what a decode step takes, beside its floor."""

from nacelle_bench.records import BackendsRun
from nacelle_bench.svg import Chart, Series


def backend_chart(run: BackendsRun) -> Chart:
    """Time of a decode step by requests at once."""
    steps = [row for row in run.rows if row["figure"] == "step_ms"]
    sizes = [float(row["at"].removeprefix("batch ")) for row in steps]
    series = tuple(
        Series(
            name,
            tuple((size, float(row[column])) for size, row in zip(sizes, steps, strict=True)),
            dashed=column == "bound",
        )
        for name, column in (("native", "native"), ("tensorrt", "tensorrt"), ("floor", "bound"))
    )
    return Chart("A decode step by either backend", "requests", "ms", series, run.note)
