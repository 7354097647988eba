"""The process that compiles plans: a job as JSON on stdin, lines of JSON about it on stdout.

TensorRT's warnings and errors go to stderr as they come: it may end the process by itself.
"""

import sys
from pathlib import Path
from typing import Any

from nacelle_builder.compile.tensorrt.definition import Definition, add_profiles
from nacelle_builder.compile.tensorrt.phases import Phases
from nacelle_builder.compile.tensorrt.plan_job import Line, PlanJob
from nacelle_builder.durable import write_durably
from nacelle_engine.program.tensorrt_api import tensorrt
from nacelle_engine.program.tensorrt_log import log_to


def main() -> int:
    """Build every plan; 1 where TensorRT gives none."""
    job = PlanJob.model_validate_json(sys.stdin.read())
    trt = tensorrt()
    log = log_to(lambda line: print(line, file=sys.stderr, flush=True))
    builder, runtime = trt.Builder(log), trt.Runtime(log)
    timing = Path(job.timing_cache)
    known = timing.read_bytes() if timing.is_file() else b""
    workspace: dict[str, int] = {}
    for number, network in enumerate(job.networks):
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_bytes)
        cache = config.create_timing_cache(known)
        config.set_timing_cache(cache, ignore_mismatch=False)
        add_profiles(builder, config, network, job.profiles)
        monitor = _monitor(trt, network.name, number, len(job.networks))
        config.progress_monitor = monitor
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        # The definition's constants must outlive the build.
        definition = Definition(trt, builder.create_network(flags), network)
        plan = builder.build_serialized_network(definition.definition, config)
        if plan is None:
            return 1
        (Path(job.folder) / f"{network.name}.plan").write_bytes(plan)
        # Whoever runs it must be able to open it, and to give it what it works in.
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            return 1
        workspace[network.name] = engine.device_memory_size_v2
        del engine
        known = bytes(config.get_timing_cache().serialize())
    _keep(timing, known)
    _tell(Line(percent=100, message="compiled", done=True, workspace_bytes=workspace))
    return 0


def _monitor(trt: Any, network: str, number: int, count: int) -> Any:
    """TensorRT's own monitor, which tells how far the whole job is."""
    phases = Phases()

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            phases.start(name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            phases.step(name, step)
            percent = int(100 * (number + phases.fraction()) / count)
            _tell(Line(percent=percent, message=f"TensorRT compiles {network}: {name}"[:200]))
            return True

        def phase_finish(self, name: str) -> None:
            phases.finish(name)

    return Monitor()


def _keep(path: Path, times: bytes) -> None:
    """Replace the timing cache in one step; other builds may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, times)


def _tell(line: Line) -> None:
    print(line.model_dump_json(by_alias=True), flush=True)


if __name__ == "__main__":
    sys.exit(main())
