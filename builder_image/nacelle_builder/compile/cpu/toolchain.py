"""The C++ compiler pinned to one CPU level: for our kernels and for AOTInductor."""

import hashlib
import os
import shlex
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from nacelle_builder.compile.cpu import kernel_objects
from nacelle_builder.compile.cpu.kernel_objects import COMPILER
from nacelle_builder.compile.failure import compile_failure
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed
from nacelle_engine.ops.kernels import headers, sources

_TIMEOUT_SECONDS = 600
_TORCH = Path(torch.__file__).parent

# AOTInductor hard-codes -march=native and links -lgomp. This wrapper drops both: the level comes
# last, and OpenMP's symbols are found in the one libgomp that torch has loaded.
_WRAPPER = """#!/bin/sh
linking=yes
for argument; do
  shift
  case "$argument" in
    -c|-E|--version|-v) linking=no ;;
    -march=*|-mavx*|-mfma|-mf16c|-mamx*|-lgomp) continue ;;
  esac
  set -- "$@" "$argument"
done
[ $linking = yes ] && exec {compiler} "$@" -march={level} {kernels}
exec {compiler} "$@" -march={level}
"""


@dataclass(frozen=True)
class Toolchain:
    """One CPU level's compiler, with a folder for its intermediate files.

    defines: macros that the kernels are compiled with; an engine's have none.
    kept: a folder of objects that earlier builds have compiled, and that this one adds to.
    """

    level: Architecture
    work: Path
    defines: tuple[str, ...] = ()
    kept: Path | None = None

    def compile_kernels(self, library: Path) -> None:
        """Build kernels.so from the ops' sources; its soname tells the sources' digest."""
        objects = [self.work / f"{source.stem}.o" for source in sources()]
        _run_all(
            [*self._compiler, *kernel_objects.arguments(source, made, self._flags, _TORCH)]
            for source, made in zip(sources(), objects, strict=True)
        )
        link = [
            COMPILER, "-shared", *map(str, objects), "-o", str(library),
            f"-Wl,-soname,{self.soname}", f"-L{_TORCH / 'lib'}", "-ltorch_cpu",
        ]  # fmt: skip
        _run_all([link])

    @property
    def soname(self) -> str:
        """The name under which programs find the kernels they were compiled with."""
        digest = hashlib.sha256(" ".join(self._flags).encode())
        for file in (*headers(), *sources()):
            digest.update(file.read_bytes())
        return f"nacelle-kernels-{digest.hexdigest()[:16]}.so"

    def wrapper(self, kernels: Path) -> Path:
        """The command for AOTInductor to compile and link with."""
        path = self.work / "cxx"
        path.write_text(
            _WRAPPER.format(
                compiler=shlex.join(self._compiler),
                level=self.level,
                kernels=shlex.quote(str(kernels)),
            )
        )
        path.chmod(0o755)
        return path

    @property
    def _compiler(self) -> list[str]:
        if self.kept is None:
            return [COMPILER]
        return kernel_objects.compiler(self.kept)

    @property
    def _flags(self) -> list[str]:
        return kernel_objects.flags(self.level, self.defines)


def _run_all(commands: Iterable[list[str]]) -> None:
    """Run all commands at once, wait for every one, then raise for the first that failed."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        ended = list(pool.map(_run, commands))
    for result in ended:
        if result.returncode:
            said = result.stderr.strip().splitlines()
            raise compile_failure(f"{COMPILER} ended with {result.returncode}", said, last=3)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise CompileFailed(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise CompileFailed(f"{command[0]} did not end in {_TIMEOUT_SECONDS} s") from error
