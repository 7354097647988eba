"""The kernels' library for this machine, compiled once for each state of its sources."""

import functools
import os
import shutil
from pathlib import Path

import pytest

from nacelle_builder.compile.cpu.toolchain import Toolchain
from nacelle_engine.arch import cpu_flags, cpu_level
from nacelle_engine.ops.kernels import eager_kernels


@pytest.fixture(scope="session")
def library_of(tmp_path_factory):
    """Path of kernels.so compiled with these macros."""
    return functools.cache(lambda *defines: _library(tmp_path_factory.mktemp("kernels"), defines))


@pytest.fixture(scope="module")
def kernels(library_of):
    """Path of kernels.so; torch.ops.nacelle runs on it while a module's tests last."""
    library = library_of()
    with eager_kernels(library):
        yield library


def _library(work: Path, defines: tuple[str, ...]) -> Path:
    cache = Path(os.environ.get("NACELLE_CACHE", Path.home() / ".cache" / "nacelle")) / "kernels"
    toolchain = Toolchain(cpu_level(cpu_flags()), work, defines)
    library = cache / toolchain.soname
    if not library.exists():
        made = work / "kernels.so"
        toolchain.compile_kernels(made)
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, library.with_suffix(f".{os.getpid()}"))
        library.with_suffix(f".{os.getpid()}").rename(library)
    return library
