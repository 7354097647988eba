"""The base's maker is broken off in its midst: nothing of it stays mounted, and the next begins."""

import os
from pathlib import Path

import pytest

from nacelle_cluster.command import succeeds
from nacelle_cluster.errors import ClusterError
from nacelle_images import base
from nacelle_images.base import EMPTIED, LocalBase

MOUNTS = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
# As the real one: the folder's own /proc is mounted while packages are set up.
DEBOOTSTRAP = """#!/bin/sh
for word; do root=$last; last=$word; done
mkdir -p "$root/etc/apt" "$root/proc"
for name in {folders}; do mkdir -p "$root/$name"; done
mount -t tmpfs none "$root/proc" || exit 1
touch "$root/proc/meminfo"
[ -e "{whole}" ] || kill -KILL $$
umount "$root/proc"
"""


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a file says that debootstrap is not broken off."""
    if os.getuid() != 0 or not succeeds(MOUNTS):
        pytest.skip("who may not mount makes no base")
    program = tmp_path / "bin" / "debootstrap"
    program.parent.mkdir()
    program.write_text(DEBOOTSTRAP.format(folders=" ".join(EMPTIED), whole=tmp_path / "whole"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(base, "machine_mirror", lambda: "http://mirror.example/debian")
    return tmp_path / "whole"


def test_what_was_broken_off_stays_mounted_nowhere_and_the_next_makes_it(
    whole: Path, tmp_path: Path
) -> None:
    made = LocalBase(tmp_path / "base")
    with pytest.raises(ClusterError, match="debootstrap"):
        made.ensure()
    try:
        assert str(made.folder) not in Path("/proc/mounts").read_text()
    finally:
        succeeds(["umount", made.folder / "root" / "proc"])
    whole.touch()
    made.ensure()
    assert made.archive.is_file()
    assert not (made.folder / "root").exists()
