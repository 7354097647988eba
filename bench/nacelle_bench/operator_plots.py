"""Charts of the operator at scale: how soon what it makes is there, of how many."""

from nacelle_bench.operator_seen import SPANS
from nacelle_bench.records import OperatorRun
from nacelle_bench.svg import Chart, Series


def operator_chart(run: OperatorRun) -> Chart:
    """Seconds within which a share of the objects was there."""
    return Chart(
        "From apply to what comes of it, all applied at once",
        "% of the objects",
        "s",
        tuple(
            Series(name, points)
            for span, name in SPANS.items()
            if (
                points := tuple(
                    (float(sample["percent"]), float(sample[span]))
                    for sample in run.samples
                    if sample[span] is not None
                )
            )
        ),
        run.note,
        linear=True,
    )
