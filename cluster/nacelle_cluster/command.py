"""Running another program with a deadline, and its failure as one of our errors."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from nacelle_cluster.errors import ClusterError


def find_program(name: str) -> str | None:
    """The path of a program; a plain user's PATH lacks the folders of the system's own tools."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def run(
    argv: Sequence[str | Path],
    *,
    seconds: float = 60,
    stdin: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """The program's standard output; ClusterError with the end of its errors when it fails."""
    words = [str(word) for word in argv]
    program = find_program(words[0])
    if program is None:
        raise ClusterError(f"{words[0]}: not found on this machine")
    try:
        done = subprocess.run(
            [program, *words[1:]],
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            env=env,
            cwd=cwd,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words)}: not done after {seconds:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()[-12:]
        head = f"{' '.join(words)}: exit code {done.returncode}"
        raise ClusterError("\n  ".join([head, *said]))
    return done.stdout.decode(errors="replace")


def run_with_input(argv: Sequence[str | Path], data: str, *, seconds: float = 60) -> str:
    """`run` with `data` as the program's standard input."""
    with tempfile.TemporaryFile() as file:
        file.write(data.encode())
        file.seek(0)
        return run(argv, seconds=seconds, stdin=file)


def succeeds(argv: Sequence[str | Path], *, seconds: float = 20) -> bool:
    """Whether the program ran and ended with exit code 0."""
    try:
        run(argv, seconds=seconds)
    except ClusterError:
        return False
    return True
