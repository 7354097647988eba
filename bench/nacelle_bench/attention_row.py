"""The table's rows: each time with its rate, and how much lower FlashInfer's best one is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nacelle_bench.attention_workload import Case
from nacelle_engine.ops.gpu.attention_shape import AttentionShape

FLASHINFER = "FlashInfer"


@dataclass(frozen=True)
class Measured:
    """One contender's time of one layer."""

    shape: AttentionShape
    case: Case
    kernel: str
    microseconds: float

    @property
    def key(self) -> tuple[bool, Case]:
        """What is compared with each other: the same cache and case."""
        return self.shape.fp8, self.case


def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
    """One row a case and kernel, the quickest of those of one name."""
    quickest: dict[tuple[tuple[bool, Case], str], Measured] = {}
    for one in measured:
        known = quickest.setdefault((one.key, one.kernel), one)
        if one.microseconds < known.microseconds:
            quickest[one.key, one.kernel] = one
    return [_row(one, _best(one.key, measured)) for one in quickest.values()]


def _best(key: tuple[bool, Case], measured: Sequence[Measured]) -> float | None:
    """FlashInfer's quickest library there; None where none ran."""
    own = (m for m in measured if m.key == key and m.kernel.startswith(FLASHINFER))
    return min((m.microseconds for m in own), default=None)


def _row(one: Measured, best: float | None) -> dict[str, Any]:
    case, us = one.case, one.microseconds
    other = best is not None and not one.kernel.startswith(FLASHINFER)
    return {
        "kernel": one.kernel,
        "step": "prefill" if case.prefill else "decode",
        "kv": "fp8" if one.shape.fp8 else "bf16",
        "requests": case.requests,
        "context": case.context,
        "us": us,
        "GB/s": None if case.prefill else case.kv_bytes(one.shape) / us / 1e3,
        "TFLOP/s": case.operations(one.shape) / us / 1e6,
        "FlashInfer lower %": 100 * (1 - best / us) if other and best is not None else None,
    }
