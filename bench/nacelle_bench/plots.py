"""Charts of the kept figures: `python -m nacelle_bench.plots docs/benchmarks` writes them there."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nacelle_bench.backend_plots import backend_chart
from nacelle_bench.fusion_plots import fusion_chart
from nacelle_bench.operator_plots import operator_chart
from nacelle_bench.records import EngineRun, KernelRun, PeerRun, Records, Row, read_records
from nacelle_bench.serve_plots import serve_charts
from nacelle_bench.soak_plots import soak_chart
from nacelle_bench.svg import Chart, Series, draw
from nacelle_engine.errors import InvalidRequest, NacelleError

# The four products of a layer; the head is one of a step.
_LAYER: Final = ("qkv", "o", "gate_up", "down")
_METHODS: Final = {
    "gemv": "one token: products in CUDA cores",
    "w8a16": "FP8 weights, bfloat16 inputs, tensor cores",
    "fp8_blocks": "FP8 weights and inputs in blocks, tensor cores",
}


def charts(records: Records) -> dict[str, Chart]:
    """File name -> chart, of what there are figures for."""
    made: dict[str, Chart] = {}
    if records.engines:
        made["step-time.svg"] = _step_time(records.engines, records.peers)
        made["read-rate.svg"] = _read_rate(records.engines)
        made["matrix-rate.svg"] = _matrix_rate(records.engines)
    made |= serve_charts(records.serving, records.peers)
    for number, run in enumerate(records.kernels):
        made[f"layer-products{_number(number)}.svg"] = _layer_products(run)
    for number, fusion in enumerate(records.fusion):
        made[f"fusion{_number(number)}.svg"] = fusion_chart(fusion)
    for number, soak in enumerate(records.soaks):
        made[f"soak{_number(number)}.svg"] = soak_chart(soak)
    for number, operator in enumerate(records.operators):
        made[f"operator{_number(number)}.svg"] = operator_chart(operator)
    for number, backends in enumerate(records.backends):
        made[f"backends{_number(number)}.svg"] = backend_chart(backends)
    return made


def _number(index: int) -> str:
    """What tells a further chart of a kind from the first."""
    return f"-{index + 1}" if index else ""


def write_charts(folder: Path) -> tuple[Path, ...]:
    """Draw every chart of a folder's records beside them; gives the files written."""
    made = charts(read_records(folder))
    if not made:
        raise InvalidRequest(
            f"{folder} holds no figures to draw: no engine's, server's, kernels' or operator's"
        )
    for name, chart in made.items():
        (folder / name).write_text(draw(chart), encoding="utf-8")
    return tuple(folder / name for name in made)


def _step_time(engines: Sequence[EngineRun], peers: Sequence[PeerRun]) -> Chart:
    series = []
    for run in engines:
        series.append(Series(run.name, _points(run.rows, "batch", "step_ms")))
        floor = _points(run.rows, "batch", "floor_ms")
        series.append(Series(f"{run.name}: floor", floor, dashed=True))
    series += [Series(peer.name, _points(peer.rows, "batch", "step_ms")) for peer in peers]
    note = " ".join(f"{peer.name}: {peer.conditions}." for peer in peers)
    return Chart("Time of a decode step", "requests", "ms", tuple(series), note)


def _read_rate(engines: Sequence[EngineRun]) -> Chart:
    series = []
    for run in engines:
        points = _points(run.rows, "batch", "gb_s")
        series.append(Series(run.name, points))
        ceiling = tuple((x, run.read_gb_s) for x, _ in points)
        series.append(Series(f"{run.name}: the memory's read bandwidth", ceiling, dashed=True))
    note = "Bytes of weights and cache that a step must read, over its time."
    return Chart("Memory read in a decode step", "requests", "GB/s", tuple(series), note)


def _matrix_rate(engines: Sequence[EngineRun]) -> Chart:
    series = []
    for run in engines:
        decode = _points(run.rows, "batch", "tflop_s")
        prefill = _points(run.prefill, "tokens_a_step", "tflop_s")
        series.append(Series(f"{run.name}: decode", decode))
        if prefill:
            series.append(Series(f"{run.name}: prefill", prefill))
        ceiling = tuple((x, run.matrix_tflop_s) for x, _ in (*decode, *prefill))
        series.append(Series(f"{run.name}: the matrix rate", ceiling, dashed=True))
    note = "Operations of products and attention, over the time."
    return Chart("Operations a second", "tokens in a step", "TFLOP/s", tuple(series), note)


def _layer_products(run: KernelRun) -> Chart:
    series = []
    for method, name in _METHODS.items():
        points = layer_microseconds([row for row in run.linears if row["method"] == method])
        if points:
            series.append(Series(name, points))
    sizes = sorted({x for one in series for x, _ in one.points})
    floor = tuple((size, _layer_bytes(run.linears) / run.read_gb_s / 1e3) for size in sizes)
    series.append(Series(f"weights read at {run.read_gb_s:,g} GB/s", floor, dashed=True))
    note = f"{run.gpu}, {run.shape}. Best tiling of each, weights from memory, launches in a row."
    title = "The four products of a layer"
    return Chart(title, "tokens in a step", "us a layer", tuple(series), note)


def layer_microseconds(rows: Sequence[Row]) -> tuple[tuple[float, float], ...]:
    """(tokens, us of a layer's four products) where all four were timed."""
    times: dict[int, dict[str, float]] = {}
    for row in rows:
        times.setdefault(row["tokens"], {})[row["op"]] = row["us"]
    return tuple(
        (tokens, sum(found[op] for op in _LAYER))
        for tokens, found in sorted(times.items())
        if all(op in found for op in _LAYER)
    )


def _layer_bytes(rows: Sequence[Row]) -> float:
    """Bytes of a layer's weights: what each row read."""
    one = {row["op"]: row["us"] * row["gb_s"] * 1e3 for row in rows}
    whole: float = sum(one[op] for op in _LAYER)
    return whole


def _points(rows: Sequence[Row], across: str, upwards: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(row[across]), float(row[upwards])) for row in rows)


def main(arguments: list[str]) -> int:
    """Write the charts of the folder that is named."""
    if len(arguments) != 1:
        print("usage: python -m nacelle_bench.plots FOLDER", file=sys.stderr)
        return 2
    try:
        written = write_charts(Path(arguments[0]))
    except NacelleError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(str(path) for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
