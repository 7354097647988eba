"""NVIDIA's compiler from its wheels: CUDA sources to a shared library, without a GPU."""

import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from nacelle_builder.compile.failure import compile_failure
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed

_TIMEOUT_SECONDS = 1800
# What the three stages of nvcc and the linker say last is what an engineer needs.
_LAST_LINES = 6
# Where a toolkit keeps its libraries: from wheels, and as it is installed.
_LIBRARIES = ("lib", "lib64", "targets/x86_64-linux/lib")
# sm_90a and sm_100a have instructions (wgmma, TMA) that their plain names lack.
_REAL = {
    Architecture.SM_80: "80",
    Architecture.SM_89: "89",
    Architecture.SM_90: "90a",
    Architecture.SM_100: "100a",
}


@dataclass(frozen=True)
class Toolkit:
    """A CUDA toolkit's folder: bin/nvcc, include, lib. From wheels it is site-packages/nvidia/cu13.

    Needs g++ and the wheels nvidia-cuda-nvcc, nvidia-nvvm and nvidia-cuda-crt, beside
    nvidia-cuda-runtime and nvidia-curand, which torch brings; or an installed CUDA 13.
    """

    home: Path

    @property
    def nvcc(self) -> Path:
        """The compiler's driver."""
        return self.home / "bin" / "nvcc"

    @property
    def runtime(self) -> Path:
        """The runtime library that libraries are linked with; torch has loaded it at serving."""
        found = (self.home / folder / "libcudart.so.13" for folder in _LIBRARIES)
        return next((path for path in found if path.exists()), self.home / "lib/libcudart.so.13")

    def version(self) -> str:
        """What the compiler says it is; CompileFailed when it does not start."""
        return run_command([str(self.nvcc), "--version"]).splitlines()[-1]

    @property
    def lacking(self) -> tuple[str, ...]:
        """The wheels that would bring what is missing in the folder."""
        needed = {
            "nvidia-cuda-nvcc": self.nvcc,
            "nvidia-nvvm": self.home / "nvvm" / "bin" / "cicc",
            "nvidia-cuda-crt": self.home / "include" / "crt" / "host_config.h",
            "nvidia-cuda-runtime": self.runtime,
            "nvidia-curand": self.home / "include" / "curand_kernel.h",
        }
        return tuple(name for name, path in needed.items() if not path.exists())


@dataclass(frozen=True)
class Unit:
    """What one library is compiled from."""

    sources: tuple[Path, ...]
    includes: tuple[Path, ...]
    defines: tuple[str, ...]
    prelude: Path
    exports: Path
    libraries: tuple[Path, ...]


def find_toolkit(packages: Path | None = None) -> Toolkit:
    """The toolkit that pip installed beside this interpreter, or the one whose nvcc is in the path;
    CompileFailed names what the first lacks.
    """
    toolkit = Toolkit((packages or Path(sysconfig.get_path("purelib"))) / "nvidia" / "cu13")
    if toolkit.lacking and (installed := shutil.which("nvcc")):
        other = Toolkit(Path(installed).resolve().parent.parent)
        toolkit = toolkit if other.lacking else other
    if toolkit.lacking:
        raise CompileFailed(
            f"{toolkit.home} lacks {', '.join(toolkit.lacking)}: "
            "install the extra nacelle[gpu-builder]"
        )
    if shutil.which("g++") is None:
        raise CompileFailed("g++ is not installed: nvcc compiles the host's half with it")
    return toolkit


def compile_commands(
    toolkit: Toolkit, architecture: Architecture, unit: Unit, work: Path
) -> list[list[str]]:
    """One command a source, to objects in `work`, in the sources' order."""
    real = _real(architecture)
    return [
        [
            str(toolkit.nvcc),
            "-std=c++17", "-O3", "-DNDEBUG", "-use_fast_math", "--expt-relaxed-constexpr",
            "-static-global-template-stub=false", "-Xcompiler=-fPIC", "-diag-suppress=177",
            f"-gencode=arch=compute_{real},code=sm_{real}", "-Xfatbin=-compress-all",
            "--compress-mode=size", *(f"-D{define}" for define in unit.defines),
            *(f"-I{folder}" for folder in unit.includes),
            f"-include={unit.prelude}", "-c", str(source), "-o", str(_object(source, work)),
        ]
        for source in unit.sources
    ]  # fmt: skip


def link_command(toolkit: Toolkit, unit: Unit, work: Path, out: Path) -> list[str]:
    """Link the objects: nothing is exported but what the loader calls, nothing searched by path."""
    return [
        "g++", "-shared", *(str(_object(source, work)) for source in unit.sources),
        *map(str, unit.libraries), str(toolkit.runtime),
        f"-Wl,--version-script={unit.exports}", "-Wl,-Bsymbolic", "-Wl,--no-undefined", "-s",
        f"-Wl,-soname,{out.name}", "-o", str(out),
    ]  # fmt: skip


def compile_library(
    toolkit: Toolkit,
    architecture: Architecture,
    unit: Unit,
    out: Path,
    run: Callable[[list[str]], object] | None = None,
) -> float:
    """Write the shared library `out`; seconds that it took. CompileFailed has nvcc's last lines."""
    call = run or run_command
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nacelle-nvcc-") as folder:
        work = Path(folder)
        _run_all(compile_commands(toolkit, architecture, unit, work), call)
        call(link_command(toolkit, unit, work, out))
    return time.monotonic() - began


def run_command(command: Sequence[str]) -> str:
    """One command run to its end, and what it printed; CompileFailed when it is missing, fails or
    hangs.
    """
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except OSError as error:
        reason = error.strerror or str(error)
        raise compile_failure(f"{command[0]} cannot be started", [reason]) from error
    except subprocess.TimeoutExpired as error:
        raise CompileFailed(f"{command[0]} did not end in {_TIMEOUT_SECONDS} s") from error
    if ended.returncode:
        said = (ended.stdout + ended.stderr).strip().splitlines()
        what = f"{command[0]} ended with {ended.returncode}"
        raise compile_failure(what, said, _LAST_LINES)
    return ended.stdout


def _run_all(commands: Iterable[list[str]], run: Callable[[list[str]], object]) -> None:
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for future in [pool.submit(run, command) for command in commands]:
            future.result()


def _real(architecture: Architecture) -> str:
    real = _REAL.get(architecture)
    if real is None:
        raise CompileFailed(f"architecture {architecture}: nvcc compiles for GPUs only")
    return real


def _object(source: Path, work: Path) -> Path:
    return work / f"{source.stem}.o"
