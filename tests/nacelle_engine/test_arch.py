"""Architectures: levels, flags and what runs where."""

import pytest

from nacelle_engine.arch import (
    Architecture,
    cpu_flags,
    cpu_level,
    levels_that_run,
    missing_flags,
    parse_architecture,
)
from nacelle_engine.errors import InvalidRequest

V3 = frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"])
V4 = V3 | frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (V4, Architecture.X86_64_V4),
        (V4 - {"avx512vl"}, Architecture.X86_64_V3),
        (V3, Architecture.X86_64_V3),
        (V3 - {"fma"}, None),
        (frozenset(), None),
    ],
)
def test_level_is_the_highest_with_every_flag(flags, level):
    assert cpu_level(flags) == level


def test_missing_flags_are_named():
    assert missing_flags(Architecture.X86_64_V4, V4 - {"avx512cd"}) == {"avx512cd"}


def test_a_v3_engine_also_runs_on_v4():
    assert levels_that_run(Architecture.X86_64_V3) == (
        Architecture.X86_64_V3,
        Architecture.X86_64_V4,
    )
    assert levels_that_run(Architecture.X86_64_V4) == (Architecture.X86_64_V4,)


@pytest.mark.parametrize(("name", "capability"), [("sm_90", (9, 0)), ("sm_100", (10, 0))])
def test_compute_capability(name, capability):
    assert Architecture(name).compute_capability == capability


def test_unknown_architecture_lists_the_known_ones():
    with pytest.raises(InvalidRequest, match=r"'sm_91' is unknown; known are sm_80, .*x86-64-v4"):
        parse_architecture("sm_91")


def test_flags_are_read_from_cpuinfo(tmp_path):
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nflags\t\t: fma avx2\nprocessor\t: 1\nflags\t\t: other\n")
    assert cpu_flags(file) == {"fma", "avx2"}
