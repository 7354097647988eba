"""A compiler that compiles no source twice: objects are kept in a folder, found by their content.

    python -S object_cache.py FOLDER COMPILER ARGUMENT...

Builds compile the same kernels, and much the same programs, again and again. An object is found by
its source, the headers beside it, the flags, and the versions of the compiler and of torch, whose
headers it includes. Lines of comment do not count: AOTInductor names its scratch folder in one. Nor
does it count where torch and Python are installed, so that another checkout finds the same objects.
What is no plain compilation of one source goes straight to the compiler; what fails is not kept.
Many builds may fill the folder at once. NACELLE_OBJECTS names another that was filled beforehand,
and is only read. Run as a file of its own: importing nothing of this package starts it in
milliseconds.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


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
    for part in (*(_portable(flag).encode() for flag in flags), *read):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _portable(flag: str) -> str:
    """The flag; of a folder of headers, the part below the environment that holds it."""
    parts = Path(flag[2:]).parts if flag.startswith("-I") else ()
    for root in ("site-packages", "include"):
        if root in parts:
            return "-I" + "/".join(parts[parts.index(root) :])
    return flag


def _code(file: Path) -> bytes:
    lines = file.read_bytes().split(b"\n")
    return b"\n".join(b"" if line.lstrip().startswith(b"//") else line for line in lines)


def compile_once(folder: Path, command: str, arguments: Sequence[str]) -> int:
    """The compiler's exit code; 0 where the object was there already."""
    found = compilation(arguments)
    if found is None:
        os.execvp(command, [command, *arguments])
    source, made, flags = found
    name = f"{key(command, source, flags)}.o"
    known = folder / name
    beforehand = os.environ.get("NACELLE_OBJECTS")
    for one in (known, *([Path(beforehand, name)] if beforehand else [])):
        try:
            shutil.copyfile(one, made)
        except (FileNotFoundError, NotADirectoryError):  # not there, or removed at this moment
            continue
        return 0
    ended = subprocess.run([command, *arguments], check=False).returncode
    if ended == 0:
        try:
            _keep(made, known)
        except OSError as error:  # a folder that is full, or only read: the object is made
            print(f"{known} is not kept: {error.strerror}", file=sys.stderr)
    return ended


def _keep(made: Path, known: Path) -> None:
    known.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not there: a reader never sees an object that is still being written. Not named
    # after this process: builds in pods have the same ids.
    ours = known.with_suffix(f".{os.urandom(8).hex()}")
    try:
        shutil.copyfile(made, ours)
        ours.replace(known)
    except OSError:
        ours.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    _folder, _compiler, *_arguments = sys.argv[1:]
    if shutil.which(_compiler) is None:
        sys.exit(f"{_compiler} is not installed")
    sys.exit(compile_once(Path(_folder), _compiler, _arguments))
