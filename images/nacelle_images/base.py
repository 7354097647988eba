"""The base image for machines that reach Debian's archive and no image registry.

debootstrap mounts /proc and /sys below the folder that it fills. It does so in a mount namespace of
its own: where it is killed, nothing stays mounted that the next run would delete from.
"""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster import debian
from nacelle_cluster.command import run

SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-venv")
# Neither is of use in a container, and the machine's own sources do not belong in an image.
EMPTIED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
)
BLANK_FILES = ("etc/apt/sources.list", "etc/pip.conf", "etc/resolv.conf", "etc/hostname")
APART = ("unshare", "--mount", "--propagation", "private")
DOCKERFILE = 'FROM scratch\nADD base.tar /\nCMD ["/bin/bash"]\n'


@dataclass(frozen=True)
class LocalBase:
    """A minimal Debian with Python in `folder`/base.tar, made once."""

    folder: Path

    @property
    def archive(self) -> Path:
        """The file system as a tar."""
        return self.folder / "base.tar"

    def digest(self) -> str:
        """SHA-256 of the archive."""
        with self.archive.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def ensure(self) -> None:
        """Make it from the machine's own Debian archive, unless it is there."""
        if self.archive.is_file():
            return
        if not shutil.which("debootstrap"):
            debian.install(["debootstrap"])
        root = self.folder / "root"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        options = ["--variant=minbase", "--include=" + ",".join(PACKAGES)]
        command = [*APART, "debootstrap", *options, SUITE, str(root), machine_mirror()]
        run(command, seconds=900)
        _clean(root)
        unfinished = self.folder / "base.tar.unfinished"
        run(
            ["tar", "--numeric-owner", "--sort=name", "-C", root, "-cf", unfinished, "."],
            seconds=300,
        )
        shutil.rmtree(root)
        (self.folder / "Dockerfile").write_text(DOCKERFILE)
        unfinished.rename(self.archive)


def machine_mirror() -> str:
    """The address of Debian's archive in the machine's own apt sources."""
    files = [
        debian.SOURCES / "sources.list",
        *sorted((debian.SOURCES / "sources.list.d").glob("*")),
    ]
    return debian.mirror(file.read_text() for file in files if file.is_file())


def _clean(root: Path) -> None:
    for name in EMPTIED:
        shutil.rmtree(root / name)
        (root / name).mkdir()
    for name in BLANK_FILES:
        (root / name).unlink(missing_ok=True)
        (root / name).write_text("")
