"""One line names everything that the machine lacks."""

from dataclasses import replace
from pathlib import Path

import pytest

from nacelle_cluster import requirements
from nacelle_cluster.errors import ClusterError
from nacelle_cluster.requirements import DISK_TO_BEGIN, GIGABYTE, MachineFacts, missing

GOOD = MachineFacts(
    user_id=0,
    system="Linux",
    architecture="x86_64",
    free_bytes=DISK_TO_BEGIN,
    tools=frozenset(requirements.NEEDED),
    go=(1, 26),
)


def test_a_good_machine_lacks_nothing():
    assert missing(GOOD, Path("/c"), DISK_TO_BEGIN) == []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"user_id": 1000}, "root (run it with sudo)"),
        (
            {"free_bytes": 19 * GIGABYTE + 940_000_000},
            "20 GB of free disk at /c (19.9 GB are free)",
        ),
        ({"tools": GOOD.tools - {"gcc"}}, "the tool gcc"),
        ({"tools": GOOD.tools - {"go"}, "go": None}, "the tool go"),
        ({"go": (1, 19)}, "Go 1.26 or newer (1.19 is installed)"),
        ({"system": "Darwin"}, "Linux on x86_64 (this is Darwin on x86_64)"),
        ({"architecture": "aarch64"}, "Linux on x86_64 (this is Linux on aarch64)"),
    ],
)
def test_each_lack_is_named(change, line):
    assert missing(replace(GOOD, **change), Path("/c"), DISK_TO_BEGIN) == [line]


def test_all_lacks_are_one_line_and_nothing_is_made(tmp_path, monkeypatch):
    bad = replace(GOOD, user_id=1000, free_bytes=GIGABYTE, tools=GOOD.tools - {"gcc"})
    monkeypatch.setattr(requirements, "gather", lambda folder: bad)
    with pytest.raises(ClusterError) as caught:
        requirements.check(tmp_path / "cache", built=False)
    assert str(caught.value) == (
        "the cluster needs root (run it with sudo); 20 GB of free disk at "
        f"{tmp_path}/cache (1.0 GB are free); the tool gcc"
    )
    assert not (tmp_path / "cache").exists()


def test_the_facts_of_this_machine_can_be_gathered(tmp_path):
    facts = requirements.gather(tmp_path / "not" / "there" / "yet")
    assert facts.free_bytes > 0
