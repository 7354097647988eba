"""The tests' g++: the builder's object cache, over ${NACELLE_CACHE}/tests/objects.

Tests compile the same kernels and programs again and again, most of them unchanged since the last
run.
"""

import os
import shutil
import sys
from pathlib import Path

from kept import kept

BIN = Path(__file__).resolve().parent / "bin"
OBJECT_CACHE = (
    Path(__file__).resolve().parents[2]
    / "builder_image/nacelle_builder/compile/cpu"
    / "object_cache.py"
)


def compiler() -> str:
    """The next g++ on the PATH."""
    folders = [one for one in os.get_exec_path() if Path(one).resolve() != BIN]
    found = shutil.which("g++", path=os.pathsep.join(folders))
    if found is None:
        sys.exit("g++ is not installed")
    return found


if __name__ == "__main__":
    # As a module of its own: the package would need what -S leaves out.
    sys.path.insert(0, str(OBJECT_CACHE.parent))
    from object_cache import compile_once

    sys.exit(compile_once(kept("objects"), compiler(), sys.argv[1:]))
