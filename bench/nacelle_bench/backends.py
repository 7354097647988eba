"""The same checkpoint by both backends: what building, starting and running it takes of each."""

import json
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nacelle_bench.backend_pair import pair
from nacelle_bench.backend_rows import Side, comparison
from nacelle_bench.engine import bench_engine, check_settings
from nacelle_bench.settings import Ceilings, Settings
from nacelle_bench.table import Table
from nacelle_engine.abi import TENSORRT_VERSION
from nacelle_engine.build_memory import read_build_memory
from nacelle_engine.bundle import Bundle, check_target, read_bundle
from nacelle_engine.errors import InvalidRequest, OutOfMemory
from nacelle_engine.machine import this_machine

_DECIMALS = {"bound": 3, "native": 3, "tensorrt": 3, "ratio": 3}
# What both runs share, and a comparison states once.
_SHARED = (
    "gpu", "driver", "torch", "triton", "read_gb_s", "read_by", "matrix_tflop_s", "matrix_by",
    "prompt", "answer", "rounds",
)  # fmt: skip


def bench_backends(one: Path, other: Path, settings: Settings) -> Table:
    """Measure the bundle of each backend in a process of its own, one after the other.

    InvalidRequest where they are not of one checkpoint and one request, or not for a GPU.
    """
    both = pair(read_bundle(one), read_bundle(other))
    for bundle in both:
        if bundle.manifest.target.architecture.is_cpu:
            raise InvalidRequest(
                f"{bundle.root} is for {bundle.manifest.target.architecture}: backends are "
                "compared on a GPU"
            )
        check_target(bundle, this_machine())
    check_settings(settings, None, both.native.manifest.limits, on_gpu=True)
    settings = replace(settings, start=True)
    # Where TensorRT is missing, this says so at once.
    tensorrt = _measured(both.tensorrt, settings)
    ceilings = Ceilings(tensorrt["read_gb_s"], tensorrt["matrix_tflop_s"])
    native = _measured(both.native, replace(settings, ceilings=ceilings))
    facts = {
        "kind": "backends",
        "native": both.native.manifest.key,
        "tensorrt": both.tensorrt.manifest.key,
        "tensorrt_version": TENSORRT_VERSION,
        **{name: tensorrt[name] for name in _SHARED},
    }
    sides = (
        Side(bundle, read_build_memory(bundle.root), engine)
        for bundle, engine in zip(both, (native, tensorrt), strict=True)
    )
    return Table(facts, comparison(*sides), _DECIMALS)


def _measured(bundle: Bundle, settings: Settings) -> dict[str, Any]:
    """What `nacelle bench engine` finds; its process's end frees the GPU's memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(engine_figures, bundle.root, settings).result()
        except BrokenProcessPool as error:
            raise OutOfMemory(
                f"the process that measured {bundle.root} was ended, most likely for its memory"
            ) from error


def engine_figures(root: Path, settings: Settings) -> dict[str, Any]:
    """The figures of one bundle as JSON values."""
    found: dict[str, Any] = json.loads(bench_engine(root, None, settings).json())
    return found
