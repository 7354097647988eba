"""The kernels' library for this machine, compiled once for each state of its sources."""

import os
import shutil
from pathlib import Path

import pytest

from nacelle_builder.compile.cpu.toolchain import Toolchain
from nacelle_engine.arch import cpu_flags, cpu_level
from nacelle_engine.ops.kernels import eager_kernels


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """Path of kernels.so; torch.ops.nacelle runs on it while a test lasts."""
    cache = Path(os.environ.get("NACELLE_CACHE", Path.home() / ".cache" / "nacelle")) / "kernels"
    toolchain = Toolchain(cpu_level(cpu_flags()), tmp_path_factory.mktemp("kernels"))
    library = cache / toolchain.soname
    if not library.exists():
        made = toolchain.work / "kernels.so"
        toolchain.compile_kernels(made)
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made, library.with_suffix(f".{os.getpid()}"))
        library.with_suffix(f".{os.getpid()}").rename(library)
    with eager_kernels(library):
        yield library
