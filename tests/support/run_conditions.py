"""What a test's result can depend on beside the checkout's files: Python, machine, options."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence, Set
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

# Libraries read more of the environment than our texts name.
_PREFIXES = re.compile(
    r"(NACELLE|OMP|MKL|KMP|TORCH|PYTORCH|CUDA|NVIDIA|TRITON|HF|TRANSFORMERS|OTEL|PYTHON|PYTEST|LC|GO"
    r"|CGO|LD|GIT|SSL)_?[A-Z0-9_]*|LANG|TZ|PATH|HOME|.*_proxy|.*_PROXY"
)
_NAME = re.compile(r"\b[A-Z][A-Z0-9_]{2,}\b")


def conditions(root: Path, options: Sequence[str]) -> list[str]:
    """Lines that are the same as long as the same files give the same results."""
    return [*_here(), *(option.replace(str(root), ".") for option in options)]


def named_variables(text: str, environment: Mapping[str, str]) -> Set[str]:
    """Those of the environment whose names a text holds."""
    return environment.keys() & set(_NAME.findall(text))


def variables(root: Path, named: Set[str], environment: Mapping[str, str]) -> list[str]:
    """Those that are named and those that libraries read, the checkout's own place left aside."""
    chosen = named | {name for name in environment if _PREFIXES.fullmatch(name)}
    # pytest and make count their own doings there; what FRESH asks for is no input of a test.
    chosen -= {"PYTEST_CURRENT_TEST", "PYTEST_VERSION", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "FRESH"}
    return [f"{name}={environment[name].replace(str(root), '.')}" for name in sorted(chosen)]


@cache
def _here() -> list[str]:
    packages = sorted(f"{one.name} {one.version}" for one in distributions())
    tools = [_said(["g++", "--version"]), _said(["go", "version"])]
    return [sys.version, *packages, *tools, *_machine()]


def _machine() -> list[str]:
    cpu = Path("/proc/cpuinfo")
    fields = ("model name", "flags", "Features")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    return [
        platform.platform(),
        str(len(os.sched_getaffinity(0))),
        str(os.geteuid()),
        *sorted({line for line in lines if line.startswith(fields)}),
        *sorted(path.name for path in Path("/dev").glob("nvidia*")),
    ]


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        return f"no {command[0]}"
    return done.stdout
