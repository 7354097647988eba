"""g++ that compiles no source twice: objects are kept under ${NACELLE_CACHE}/tests/objects.

Tests compile the same kernels and programs again and again, most of them unchanged since the last
run. An object is found by its source, the headers beside it, the flags, and the versions of g++
and of torch, whose headers they include. Lines of comment do not count: AOTInductor names its
scratch folder in one. What is no plain compilation of one source goes straight to the compiler;
what fails is not kept.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kept import kept

BIN = Path(__file__).resolve().parent / "bin"


def compiler() -> str:
    """The next g++ on the PATH."""
    folders = [one for one in os.get_exec_path() if Path(one).resolve() != BIN]
    found = shutil.which("g++", path=os.pathsep.join(folders))
    if found is None:
        sys.exit("g++ is not installed")
    return found


def compilation(arguments: Sequence[str]) -> tuple[Path, Path, list[str]] | None:
    """(source, object, the other arguments) of `-c` with one source and one output, or None."""
    if "-c" not in arguments or arguments.count("-o") != 1:
        return None
    place = arguments.index("-o")
    made, others = Path(arguments[place + 1]), [*arguments[:place], *arguments[place + 2 :]]
    sources = [one for one in others if one.endswith(".cpp")]
    if len(sources) != 1:
        return None
    return Path(sources[0]), made, [one for one in others if one not in sources]


def key(command: str, source: Path, flags: Sequence[str]) -> str:
    """The digest of everything that the object follows from."""
    version = subprocess.run([command, "--version"], capture_output=True, check=True).stdout
    digest = hashlib.sha256(version)
    torch = [Path(flag[2:]).parent / "version.py" for flag in flags if flag.startswith("-I")]
    beside = sorted(source.parent.glob("*.h"))
    read = [_code(file) for file in (source, *beside, *torch) if file.exists()]
    for part in (*(flag.encode() for flag in flags), *read):
        digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


def _code(file: Path) -> bytes:
    lines = file.read_bytes().split(b"\n")
    return b"\n".join(b"" if line.lstrip().startswith(b"//") else line for line in lines)


def main(arguments: Sequence[str]) -> int:
    command = compiler()
    found = compilation(arguments)
    if found is None:
        os.execv(command, [command, *arguments])
    source, made, flags = found
    known = kept("objects") / f"{key(command, source, flags)}.o"
    if known.exists():
        shutil.copyfile(known, made)
        return 0
    ended = subprocess.run([command, *arguments], check=False).returncode
    if ended == 0:
        known.parent.mkdir(parents=True, exist_ok=True)
        ours = known.with_suffix(f".{os.getpid()}")
        shutil.copyfile(made, ours)
        ours.replace(known)
    return ended


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
