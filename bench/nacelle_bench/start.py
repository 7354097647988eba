"""From exec to the first token: a process that starts as a server's core does, timed from outside.

`python -m nacelle_bench.start BUNDLE` is that process; it prints its parts as one line of JSON.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nacelle_engine.bundle import check_target, read_bundle, verify_files
from nacelle_engine.machine import this_machine
from nacelle_engine.program.signature import WEIGHTS

_MODULE = "nacelle_bench.start"
_READ_BYTES = 4 << 30
_CHUNK_BYTES = 16 << 20


def start_rows(root: Path) -> list[dict[str, Any]]:
    """A start with the page cache empty of the bundle, and one with the bundle in it."""
    disk = disk_gb_s(read_bundle(root).rank() / WEIGHTS)
    for file in _files(root):
        _forget(file)
    return [
        {"page_cache": cache, **_start(root), "disk_gb_s": round(disk, 3)}
        for cache in ("cold", "warm")
    ]


def disk_gb_s(file: Path) -> float:
    """10^9 bytes a second that reading (the first 4 GiB of) a file takes from its disk."""
    _forget(file)
    buffer, total = bytearray(_CHUNK_BYTES), 0
    began = time.perf_counter()
    with file.open("rb", buffering=0) as opened:
        while total < _READ_BYTES and (count := opened.readinto(buffer)):
            total += count
    return total / (time.perf_counter() - began) / 1e9


def _start(root: Path) -> dict[str, Any]:
    """One start: seconds until its first token, and the parts that it tells."""
    began = time.perf_counter()
    process = subprocess.run(
        [sys.executable, "-m", _MODULE, str(root)], stdout=subprocess.PIPE, check=True
    )
    told = json.loads(process.stdout)
    # The process prints and ends: tearing it down is no part of a start.
    return {"ready_s": round(told.pop("ready") - began, 2), **told}


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def _forget(file: Path) -> None:
    """Drop a file from the page cache."""
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(arguments: list[str]) -> int:
    """Check, load and run as serving does; print when the first token was there, and the parts."""
    root = Path(arguments[0])
    bundle = read_bundle(root)
    check_target(bundle, this_machine())
    began = time.perf_counter()
    verify_files(bundle)
    verified = time.perf_counter()
    # Imported here: torch takes seconds, which are a part of the start.
    from nacelle_bench.decode import Driver
    from nacelle_engine.program.program import open_program

    imported = time.perf_counter()
    program = open_program(bundle.rank())
    Driver(program, 1, min(8, bundle.manifest.limits.max_input_len), 1).seconds()
    ready = time.perf_counter()
    times = program.load_times
    print(
        json.dumps(
            {
                "ready": ready,
                "digests_s": round(verified - began, 2),
                "import_s": round(imported - verified, 2),
                "weights_s": round(times.weight_seconds, 2),
                "weights_gb_s": round(times.weight_gb_s, 3),
                "graphs": times.graphs,
                "capture_s": round(times.capture_seconds, 2),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
