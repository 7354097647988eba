"""The headers that a program of AOTInductor begins with, compiled once for all programs.

Reading them is a quarter of compiling a program's wrapper, and most of compiling its loops. The
object is the same, byte by byte.
"""

import fcntl
import hashlib
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

_OF = "#include <torch/csrc/inductor/"


def first_headers(source: str) -> list[str]:
    """The lines that include headers before there is any code; comments may stand between."""
    found = []
    for line in map(str.strip, source.splitlines()):
        if line.startswith("#include <"):
            found.append(line)
        elif line and not line.startswith("//"):
            break
    return found


def compiler_with_headers(folder: Path, command: str, source: Path, flags: Sequence[str]) -> str:
    """A command that is `command`, and knows what the source begins with; at times itself."""
    # A module of its own, where compiler_cache.py put it on the path.
    from object_cache import key

    lines = first_headers(source.read_text("utf-8"))
    if not any(line.startswith(_OF) for line in lines):
        return command
    written = "\n".join(lines) + "\n"
    # A header is known again (#pragma once) where it lies, not under another checkout's path.
    places = (str(Path(flag[2:]).resolve()) for flag in flags if flag.startswith("-I"))
    begun = folder / hashlib.sha256("\n".join([written, *places]).encode()).hexdigest()[:16]
    begun.mkdir(parents=True, exist_ok=True)
    # Many processes come at once: one compiles, and the others wait for it.
    with (begun / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        named = begun / "begin.h"
        named.write_text(written)
        place = begun / key(command, named, flags)
        script = place / "g++"
        if not script.exists():
            _compile(place, command, written, flags)
    return str(script)


def _compile(place: Path, command: str, written: str, flags: Sequence[str]) -> None:
    """Write the headers compiled, and last the command that uses them."""
    place.mkdir(exist_ok=True)
    header = place / "begin.h"
    header.write_text(written)
    plain = [flag for flag in flags if flag != "-c"]
    into = ["-x", "c++-header", str(header), "-o", f"{header}.gch"]
    subprocess.run([command, *plain, *into], check=True)
    script, fresh = place / "g++", place / "fresh"
    fresh.write_text(f'#!/bin/sh\nexec {shlex.join([command, "-include", str(header)])} "$@"\n')
    fresh.chmod(0o755)
    fresh.replace(script)
