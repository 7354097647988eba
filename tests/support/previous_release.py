"""The release before: its chart and its operator's code, packed out of git into one file.

`python tests/support/previous_release.py REVISION` packs that revision's.
"""

import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

ARCHIVE = Path(__file__).with_name("previous_release.tar.xz")
CHART, OPERATOR, ENGINE = "charts/nacelle", "operator/nacelle_operator", "engine/nacelle_engine"


def pack(revision: str) -> None:
    """Keep a revision's chart, operator, and of the engine's package what the operator imports."""
    names = ["git", "ls-tree", "--name-only", revision, f"{ENGINE}/"]
    listed = subprocess.run(names, check=True, capture_output=True, text=True).stdout.split()
    modules = [name for name in listed if name.endswith(".py")]
    command = ["git", "archive", revision, CHART, OPERATOR, *modules]
    packed = subprocess.run(command, check=True, capture_output=True).stdout
    ARCHIVE.write_bytes(lzma.compress(packed, preset=9 | lzma.PRESET_EXTREME))


def unpack(folder: Path) -> None:
    """The chart at charts/nacelle, the operator's code in operator and engine."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")


if __name__ == "__main__":
    pack(sys.argv[1])
