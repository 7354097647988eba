"""The kernels' objects: what they are compiled with, and a folder of them made beforehand.

    python kernel_objects.py SOURCES FOLDER

The builder's image holds such a folder, so that no build there compiles what is the same in all.
Run as a file of its own, beside object_cache.py alone: the image's layer changes with these and
with the sources, not with the package.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COMPILER = "g++"
LEVELS = ("x86-64-v3", "x86-64-v4")
_FLAGS = (
    "-std=c++20",
    "-O3",
    "-fPIC",
    "-fopenmp",
    "-Wall",
    # The stable C interface of the pinned torch, as it spells the version: 2.11.0.
    f"-DTORCH_TARGET_VERSION={0x020B << 48:#x}",
)


def flags(level: str, defines: Sequence[str] = ()) -> list[str]:
    """What decides an object's code beside its source; `defines` are macros, an engine has none."""
    return [*_FLAGS, f"-march={level}", *(f"-D{name}" for name in defines)]


def arguments(source: Path, made: Path, flags: Sequence[str], torch: Path) -> list[str]:
    """The compiler's arguments for one source; `torch` is the folder of its package."""
    return [*flags, f"-I{torch / 'include'}", "-c", str(source), "-o", str(made)]


def compiler(folder: Path) -> list[str]:
    """The compiler that keeps objects in the folder."""
    cache = Path(__file__).with_name("object_cache.py")
    return [sys.executable, "-S", str(cache), str(folder), COMPILER]


def make_all(sources: Path, folder: Path) -> int:
    """Fill the folder with the objects of every source and level; the first exit code but 0."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        sys.exit("torch is not installed, whose headers the kernels include")
    torch = Path(found.submodule_search_locations[0])
    wanted = [(source, level) for source in sorted(sources.glob("*.cpp")) for level in LEVELS]
    if not wanted:
        sys.exit(f"{sources}: no *.cpp")

    def make(source: Path, level: str) -> int:
        made = Path(scratch, f"{source.stem}-{level}.o")
        command = [*compiler(folder), *arguments(source, made, flags(level), torch)]
        return subprocess.run(command, check=False).returncode

    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        return next(filter(None, pool.map(make, *zip(*wanted, strict=True))), 0)


if __name__ == "__main__":
    sys.exit(make_all(Path(sys.argv[1]), Path(sys.argv[2])))
