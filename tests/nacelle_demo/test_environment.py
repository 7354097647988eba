"""`make` makes .venv: begun and broken off, it is made anew; whole, it is kept."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
# What python3 is asked to do: whether it will do, and a .venv whose pip notes what it installs.
PYTHON = """#!/bin/sh
[ "$1" = -m ] || exit 0
mkdir -p .venv/bin
printf '#!/bin/sh\\necho "$@" >> pip.log\\n' > .venv/bin/pip
cp "$0" .venv/bin/python
chmod +x .venv/bin/*
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/cluster.txt").touch()
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(checkout: Path) -> str:
    """What pip was told to install."""
    command = ["make", "-s", ".venv/.cluster-tool", "PYTHON=./python"]
    # Tests that a make runs are given what it was asked for.
    outer = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        command, cwd=checkout, env=outer, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return (checkout / "pip.log").read_text()


def test_what_was_broken_off_before_pip_was_there_is_made_anew(checkout: Path) -> None:
    """Python's own venv links the interpreter first, and installs pip seconds later."""
    (checkout / ".venv/bin").mkdir(parents=True)
    shutil.copy(checkout / "python", checkout / ".venv/bin/python")
    assert "-r requirements/cluster.txt" in make(checkout)


def test_what_is_whole_is_kept_when_the_lock_changes(checkout: Path) -> None:
    make(checkout)
    (checkout / "python").write_text("#!/bin/sh\n[ $1 != -m ]\n")
    (checkout / ".venv/.cluster-tool").unlink()
    assert make(checkout).count("-r requirements/cluster.txt") == 2
