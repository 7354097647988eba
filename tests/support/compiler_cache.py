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
    from compiled_headers import compiler_with_headers
    from object_cache import compilation, compile_once, key

    objects, command, found = kept("objects"), compiler(), compilation(sys.argv[1:])
    if found is not None:
        source, _, flags = found
        if not (objects / f"{key(command, source, flags)}.o").exists():
            command = compiler_with_headers(kept("headers"), command, source, flags)
    sys.exit(compile_once(objects, command, sys.argv[1:]))
