"""Charts of soaks: what each process holds as time goes on."""

from nacelle_bench.records import SoakRun
from nacelle_bench.svg import Chart, Series

_PROCESSES = ("core", "frontend", "supervisor")


def soak_chart(run: SoakRun) -> Chart:
    """Memory beside what it was when the load began, so that small changes are seen."""
    return Chart(
        "Memory of a server under mixed traffic",
        "minutes",
        "% of the first sample",
        tuple(
            Series(
                f"{name}: {run.samples[0][f'{name}_mib']:,.0f} MiB at first",
                tuple(
                    (sample["seconds"] / 60, 100 * sample[f"{name}_mib"] / first)
                    for sample in run.samples[:: max(1, len(run.samples) // 60)]
                ),
            )
            for name in _PROCESSES
            if (first := run.samples[0][f"{name}_mib"])
        ),
        run.note,
        linear=True,
    )
