"""One backend beside the other, figure by figure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nacelle_engine.build_memory import BuildMemory
from nacelle_engine.bundle import Bundle
from nacelle_engine.program.signature import WEIGHTS

Row = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One backend: its bundle, what its build held, and what `nacelle bench engine` found."""

    bundle: Bundle
    memory: BuildMemory | None
    engine: Mapping[str, Any]


def comparison(native: Side, tensorrt: Side) -> list[Row]:
    """A row a figure: of what (`at`), its bound, both backends, and tensorrt over native.

    bound: the least that the machine allows, of tokens a second the most; None where none is known.
    """
    both = (native, tensorrt)
    return [*_built(*both), *_started(*both), *_decoded(*both), *_prefilled(*both)]


def _built(*both: Side) -> Iterator[Row]:
    stages = [side.bundle.manifest.provenance.stage_seconds for side in both]
    yield _row("build_s", "all stages", None, *(sum(one.values()) or None for one in stages))
    for name in dict.fromkeys(name for one in stages for name in one):
        yield _row("build_s", name, None, *(one.get(name) for one in stages))
    held = [side.memory.peak_mib if side.memory else None for side in both]
    yield _row("build_peak_mib", "host", None, *held)
    # No bundle is smaller than its weights.
    least = min(_weight_bytes(side.bundle) for side in both) / 1e9
    yield _row("bundle_gb", "", round(least, 3), *(round(s.bundle.bytes / 1e9, 3) for s in both))


def _started(*both: Side) -> Iterator[Row]:
    for native, tensorrt in zip(*(side.engine["start"] for side in both), strict=True):
        cache = native["page_cache"]
        # With nothing of it cached, reading the bundle is the least that a start takes.
        disk = max(native["disk_gb_s"], tensorrt["disk_gb_s"])
        least = min(side.bundle.bytes for side in both) / 1e9 / disk
        bound = round(least, 2) if cache == "cold" else None
        yield _row("start_s", cache, bound, native["ready_s"], tensorrt["ready_s"])


def _decoded(*both: Side) -> Iterator[Row]:
    for native, tensorrt in zip(*(side.engine["rows"] for side in both), strict=True):
        at = f"batch {native['batch']}"
        bound = min(native["floor_ms"], tensorrt["floor_ms"])
        yield _row("step_ms", at, bound, native["step_ms"], tensorrt["step_ms"])


def _prefilled(*both: Side) -> Iterator[Row]:
    for native, tensorrt in zip(*(side.engine.get("prefill", ()) for side in both), strict=True):
        at = f"{native['prompts']} x {native['length']}"
        bound = max(native["ceiling_tok_s"], tensorrt["ceiling_tok_s"])
        yield _row("prefill_tok_s", at, bound, native["tok_s"], tensorrt["tok_s"])


def _row(
    figure: str, at: str, bound: float | None, native: float | None, tensorrt: float | None
) -> Row:
    ratio = round(tensorrt / native, 3) if native and tensorrt is not None else None
    return {
        "figure": figure, "at": at, "bound": bound,
        "native": native, "tensorrt": tensorrt, "ratio": ratio,
    }  # fmt: skip


def _weight_bytes(bundle: Bundle) -> int:
    return sum(entry.size for entry in bundle.manifest.files if entry.path.endswith(f"/{WEIGHTS}"))
