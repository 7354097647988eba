"""What the machine must have before anything is begun: one line names all that is missing."""

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster import debian, golang
from nacelle_cluster.command import find_program
from nacelle_cluster.errors import ClusterError

GIGABYTE = 10**9
DISK_TO_BEGIN = 20 * GIGABYTE
# Once the parts are built and their Go caches gone, only images and volumes still grow.
DISK_TO_RUN = 8 * GIGABYTE

# Tools that a Debian package brings, and which one: installed when missing.
INSTALLABLE: Mapping[str, str] = {
    "ip": "iproute2",
    "nft": "nftables",
    "openssl": "openssl",
    "pkg-config": "pkg-config",
    "mount": "mount",
    "nsenter": "util-linux",
    "hostname": "hostname",
}
HEADERS: Mapping[str, str] = {"/usr/include/seccomp.h": "libseccomp-dev"}
# Tools that must be there already: too large, or too basic, to install behind a user's back.
NEEDED = ("go", "gcc", "apt-get", "dpkg-deb", "unshare")


@dataclass(frozen=True)
class MachineFacts:
    """What the checks look at."""

    user_id: int
    system: str
    architecture: str
    free_bytes: int
    tools: frozenset[str]
    go: tuple[int, int] | None


def gather(folder: Path) -> MachineFacts:
    """The facts of this machine; `folder` is where the disk space is wanted."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    tools = frozenset(tool for tool in (*NEEDED, *INSTALLABLE) if find_program(tool))
    return MachineFacts(
        user_id=os.getuid(),
        system=platform.system(),
        architecture=platform.machine(),
        free_bytes=shutil.disk_usage(existing).free,
        tools=tools,
        go=golang.go_version() if "go" in tools else None,
    )


def missing(facts: MachineFacts, folder: Path, disk: int) -> list[str]:
    """What the machine lacks, each in a few words."""
    lacks = []
    if (facts.system, facts.architecture) != ("Linux", "x86_64"):
        lacks.append(f"Linux on x86_64 (this is {facts.system} on {facts.architecture})")
    if facts.user_id != 0:
        lacks.append("root (run it with sudo)")
    if facts.free_bytes < disk:
        free = facts.free_bytes / GIGABYTE
        lacks.append(f"{disk // GIGABYTE} GB of free disk at {folder} ({free:.1f} GB are free)")
    lacks += [f"the tool {tool}" for tool in NEEDED if tool not in facts.tools]
    if facts.go is not None and facts.go < golang.MINIMUM_GO:
        wanted, found = (".".join(map(str, v)) for v in (golang.MINIMUM_GO, facts.go))
        lacks.append(f"Go {wanted} or newer ({found} is installed)")
    return lacks


def check(folder: Path, *, built: bool) -> None:
    """Raises one line that names all that is missing; changes nothing."""
    lacks = missing(gather(folder), folder, DISK_TO_RUN if built else DISK_TO_BEGIN)
    if lacks:
        raise ClusterError("the cluster needs " + "; ".join(lacks))


def packages_to_install() -> list[str]:
    """The Debian packages of tools and headers that are missing."""
    tools = [package for tool, package in INSTALLABLE.items() if not find_program(tool)]
    return tools + [package for file, package in HEADERS.items() if not Path(file).exists()]


def install_packages() -> list[str]:
    """Installs what Debian has of the missing tools; the packages' names."""
    packages = packages_to_install()
    if packages:
        debian.install(packages)
    return packages
