"""The figures kept in docs/benchmarks: one JSON file a run, told apart by what it holds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from nacelle_engine.errors import InvalidRequest

Row = Mapping[str, Any]


@dataclass(frozen=True)
class EngineRun:
    """`nacelle bench engine --json` of a GPU bundle; the file's name names it."""

    name: str
    read_gb_s: float
    matrix_tflop_s: float
    rows: tuple[Row, ...]
    prefill: tuple[Row, ...]


@dataclass(frozen=True)
class PeerRun:
    """Another server's step times under stated conditions."""

    name: str
    conditions: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class KernelRun:
    """Linear kernels of one layer, each timed alone."""

    gpu: str
    shape: str
    read_gb_s: float
    linears: tuple[Row, ...]


@dataclass(frozen=True)
class ServeRun:
    """`nacelle bench serve --json`: one load a row; the file's name names it."""

    name: str
    prompt: int
    answer: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class FusionRun:
    """`nacelle bench fusion --json`: a layer's launches, bytes and time, fused and eager."""

    gpu: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class SpeculationRun:
    """`nacelle bench speculation --json`: answers with drafted tokens and without."""

    name: str
    speculation: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class SoakRun:
    """`nacelle bench soak --out`: what a server held as time went on, and in what surroundings."""

    note: str
    samples: tuple[Row, ...]


@dataclass(frozen=True)
class OperatorRun:
    """`nacelle bench operator --out`: how soon objects were there, and in what surroundings."""

    note: str
    samples: tuple[Row, ...]


@dataclass(frozen=True)
class BackendsRun:
    """`nacelle bench backends`: both backends' figures of one checkpoint, and of which versions."""

    note: str
    rows: tuple[Row, ...]


Run = (
    EngineRun
    | PeerRun
    | KernelRun
    | ServeRun
    | FusionRun
    | SpeculationRun
    | SoakRun
    | OperatorRun
    | BackendsRun
)


@dataclass(frozen=True)
class Records:
    """Every run in a folder, by the files' names."""

    engines: tuple[EngineRun, ...] = ()
    peers: tuple[PeerRun, ...] = ()
    kernels: tuple[KernelRun, ...] = ()
    serving: tuple[ServeRun, ...] = ()
    fusion: tuple[FusionRun, ...] = ()
    speculation: tuple[SpeculationRun, ...] = ()
    soaks: tuple[SoakRun, ...] = ()
    operators: tuple[OperatorRun, ...] = ()
    backends: tuple[BackendsRun, ...] = ()


def read_records(folder: Path) -> Records:
    """The runs in a folder's *.json; InvalidRequest names the file that is none of them."""
    if not folder.is_dir():
        raise InvalidRequest(f"{folder} is no folder with benchmark files")
    made: dict[type, list[Any]] = {kind: [] for kind in get_args(Run)}
    for path in sorted(folder.glob("*.json")):
        run = _read(path)
        made[type(run)].append(run)
    return Records(*(tuple(runs) for runs in made.values()))


def _read(path: Path) -> Run:
    try:
        data = json.loads(path.read_text())
        if not isinstance(data, dict):
            raise TypeError("it must be an object")
        return _run(path.stem, data)
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise InvalidRequest(f"{path}: field {error.args[0]} is missing") from error
    except (ValueError, TypeError) as error:
        raise InvalidRequest(f"{path} is no benchmark file: {error}") from error


def _run(name: str, data: Mapping[str, Any]) -> Run:
    match data.get("kind", "engine"):
        case "peer":
            return PeerRun(data["name"], data["conditions"], tuple(data["rows"]))
        case "kernels":
            return KernelRun(
                data["gpu"], data["shape"], float(data["read_gb_s"]), tuple(data["linears"])
            )
        case "serve":
            return ServeRun(name, data["prompt"], data["answer"], tuple(data["rows"]))
        case "fusion":
            return FusionRun(data["gpu"], tuple(data["rows"]))
        case "speculation":
            return SpeculationRun(name, data["speculation"], tuple(data["rows"]))
        case "soak":
            minutes, requests = data["seconds"] / 60, sum(data["requests"].values())
            note = f"{requests:,} requests of {data['clients']} clients in {minutes:g} minutes."
            return SoakRun(note, tuple(data["samples"]))
        case "operator":
            note = f"{data['builds']:,} builds and as many deployments on {data['nodes']} nodes, "
            return OperatorRun(f"{note}{data['cpus']} CPUs for all.", tuple(data["samples"]))
        case "backends":
            note = f"{data['gpu']}, {data['prompt']} in, {data['answer']} out, "
            return BackendsRun(f"{note}TensorRT {data['tensorrt_version']}.", tuple(data["rows"]))
        case "engine":
            return EngineRun(
                name,
                float(data["read_gb_s"]),
                float(data["matrix_tflop_s"]),
                tuple(data["rows"]),
                tuple(data.get("prefill", ())),
            )
        case other:
            known = "engine, peer, kernels, serve, fusion, speculation, soak, operator, backends"
            raise ValueError(f"kind {other!r} is unknown; known are {known}")
