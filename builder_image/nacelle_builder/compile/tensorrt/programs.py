"""An engine's program by TensorRT: its plans, and the launch list that they stand in."""

import tempfile
from functools import partial
from pathlib import Path
from typing import Final

from nacelle_builder.compile.gpu.programs import compile_launches
from nacelle_builder.compile.tensorrt.layer_networks import layer_networks
from nacelle_builder.compile.tensorrt.plan_job import PlanJob
from nacelle_builder.compile.tensorrt.plan_launches import PlanLinears
from nacelle_builder.compile.tensorrt.plans import compile_plans
from nacelle_builder.compile.tensorrt.profiles import profiles
from nacelle_builder.report import Report
from nacelle_engine.abi import TENSORRT_VERSION
from nacelle_engine.machine import first_gpu
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.launch import PlanFile
from nacelle_engine.recipe import Recipe

PLAN_FOLDER: Final = "plans"
# Of this stage's percentage, what TensorRT takes.
_SHARE: Final = 60


def compile_by_tensorrt(
    spec: ModelSpec, recipe: Recipe, out: Path, report: Report, kept: Path | None = None
) -> None:
    """Write the plans, and all that `compile_launches` writes, into `out`.

    kept: a folder of what earlier builds have compiled and timed; None: all is done anew.
    """
    networks = layer_networks(spec, recipe)
    ranges = profiles(networks, recipe.limits.max_num_tokens)
    (out / PLAN_FOLDER).mkdir()
    with tempfile.TemporaryDirectory(prefix="nacelle-timing-") as scratch:
        job = PlanJob(
            networks=networks,
            profiles=ranges,
            folder=str(out / PLAN_FOLDER),
            timing_cache=str((kept.parent / "tactics" if kept else Path(scratch)) / cache_name()),
        )
        workspace = compile_plans(job, lambda done, text: report(done * _SHARE // 100, text))
    entry, leave = networks
    compile_launches(
        spec,
        recipe,
        out,
        lambda done, text: report(_SHARE + done * (100 - _SHARE) // 100, text),
        kept,
        partial(PlanLinears, entry=entry, exit=leave, profiles=ranges, layers=spec.num_layers),
        tuple(
            PlanFile(name=name, file=f"{PLAN_FOLDER}/{name}.plan", workspace_bytes=taken)
            for name, taken in workspace.items()
        ),
    )


def cache_name() -> str:
    """The timing cache's file: of one version of TensorRT and one product of GPU."""
    gpu = first_gpu()
    product = "none" if gpu is None else gpu.product.replace(" ", "-")
    return f"tensorrt-{TENSORRT_VERSION}-{product}.timing"
