"""Architectures an engine can be compiled for, and what the machine at hand can run."""

from enum import StrEnum
from pathlib import Path

from nacelle_engine.errors import InvalidRequest


class Architecture(StrEnum):
    """One exact instruction set that an engine is compiled for."""

    SM_80 = "sm_80"
    SM_89 = "sm_89"
    SM_90 = "sm_90"
    SM_100 = "sm_100"
    X86_64_V3 = "x86-64-v3"
    X86_64_V4 = "x86-64-v4"

    @property
    def is_cpu(self) -> bool:
        """True for CPU levels."""
        return self in _CPU_LEVELS

    @property
    def compute_capability(self) -> tuple[int, int] | None:
        """(major, minor) of a GPU architecture: sm_90 -> (9, 0); None for CPU levels."""
        if self.is_cpu:
            return None
        digits = self.value.removeprefix("sm_")
        return int(digits[:-1]), int(digits[-1])


# Flags as /proc/cpuinfo spells them; levels as in the x86-64 psABI, section 3.1.1.
_V3_FLAGS = frozenset({"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"})
_V4_FLAGS = _V3_FLAGS | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_CPU_LEVELS = {Architecture.X86_64_V3: _V3_FLAGS, Architecture.X86_64_V4: _V4_FLAGS}


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """The flags of the first processor; empty where the file does not list any."""
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def cpu_level(flags: frozenset[str]) -> Architecture | None:
    """The highest CPU level whose every flag is present, or None below x86-64-v3."""
    for level in (Architecture.X86_64_V4, Architecture.X86_64_V3):
        if _CPU_LEVELS[level] <= flags:
            return level
    return None


def missing_flags(level: Architecture, flags: frozenset[str]) -> frozenset[str]:
    """The flags that a CPU lacks to run code compiled for `level`; empty when it can."""
    return _CPU_LEVELS[level] - flags


def levels_that_run(level: Architecture) -> tuple[Architecture, ...]:
    """CPU levels whose machines run code compiled for `level`, lowest first."""
    return tuple(other for other in _CPU_LEVELS if _CPU_LEVELS[level] <= _CPU_LEVELS[other])


def parse_architecture(text: str) -> Architecture:
    """The architecture of that name; InvalidRequest lists the known ones."""
    try:
        return Architecture(text)
    except ValueError as error:
        known = ", ".join(a.value for a in Architecture)
        raise InvalidRequest(f"architecture {text!r} is unknown; known are {known}") from error
