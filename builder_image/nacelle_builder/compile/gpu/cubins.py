"""Kernels compiled ahead to cubins, in processes beside this one; no GPU is needed."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nacelle_builder.compile.failure import compile_failure
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed, OutOfMemory
from nacelle_engine.ops.gpu.kernel import Kernel
from nacelle_engine.program.launch import KERNEL_FOLDER, KernelFile

WORKER: Final = "nacelle_builder.compile.gpu.cubin_worker"
_TIMEOUT_SECONDS: Final = 1800
# Each holds Triton and torch, about half a gigabyte.
_MOST_WORKERS: Final = 16


@dataclass(frozen=True)
class Cubins:
    """What was compiled, by the kernels' names, and why the others were not."""

    made: dict[str, KernelFile]
    failed: dict[str, str]


def compile_cubins(
    kernels: Sequence[Kernel], architecture: Architecture, rank: Path
) -> tuple[KernelFile, ...]:
    """Write rank/kernels/<name>.cubin of every kernel; CompileFailed names the first that fails."""
    cubins = try_cubins(kernels, architecture, rank)
    for name, error in cubins.failed.items():
        raise compile_failure(f"kernel {name} for {architecture}", [error])
    return tuple(cubins.made[kernel.name] for kernel in kernels)


def try_cubins(kernels: Sequence[Kernel], architecture: Architecture, rank: Path) -> Cubins:
    """Write the cubins of all kernels that compile; a full disk is no failure of a kernel's."""
    (rank / KERNEL_FOLDER).mkdir(parents=True, exist_ok=True)
    jobs = [_job(kernel, architecture, rank) for kernel in kernels]
    count = min(os.cpu_count() or 1, _MOST_WORKERS, max(len(jobs), 1))
    with (
        tempfile.TemporaryDirectory(prefix="nacelle-triton-") as cache,
        ThreadPoolExecutor(count) as pool,
    ):
        shares = [jobs[number::count] for number in range(count)]
        answers = list(pool.map(lambda share: _run(share, cache), shares))
    made = [KernelFile.model_validate(facts) for answer in answers for facts in answer["made"]]
    failed = {name: error for answer in answers for name, error in answer["failed"].items()}
    for name, said in failed.items():
        error = compile_failure(f"kernel {name} for {architecture}", [said])
        if not isinstance(error, CompileFailed):
            raise error
    return Cubins({facts.name: facts for facts in made}, failed)


def _job(kernel: Kernel, architecture: Architecture, rank: Path) -> dict[str, Any]:
    function = kernel.function.fn
    return {
        "name": kernel.name,
        "module": function.__module__,
        "function": function.__name__,
        "arguments": dict(kernel.arguments),
        "constants": dict(kernel.constants),
        "warps": kernel.warps,
        "stages": kernel.stages,
        "dependent": kernel.dependent,
        "capability": architecture.compute_capability,
        "file": f"{KERNEL_FOLDER}/{kernel.name}.cubin",
        "rank": str(rank),
    }


def _run(jobs: Sequence[dict[str, Any]], cache: str) -> dict[str, Any]:
    """The worker's answer about jobs that it does one after the other, in its own process."""
    environment = {**os.environ, "TRITON_CACHE_DIR": cache}
    # The interpreter's functions cannot be compiled.
    environment.pop("TRITON_INTERPRET", None)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", WORKER],
            input=json.dumps(jobs),
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        raise CompileFailed(f"Triton did not end in {_TIMEOUT_SECONDS} s") from error
    if ended.returncode == -signal.SIGKILL:
        # By the kernel, for want of memory: nobody else kills one process of a container.
        raise OutOfMemory("the compiler's process was killed")
    if ended.returncode:
        said = ended.stderr.strip().splitlines()
        what = f"the compiler's process ended with {ended.returncode}"
        raise compile_failure(what, said, last=3)
    answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return answer
