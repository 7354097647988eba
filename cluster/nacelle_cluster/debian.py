"""Debian's packages: installed by apt where the machine needs them, or unpacked aside.

containerd 2, etcd 3.5 and the CNI plugins are in Debian's development suite (sid) only; they need
no newer libc than bookworm's, so they are unpacked into a folder of ours and installed nowhere.
docker-registry and busybox are unpacked too: installing the first would start a service.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from nacelle_cluster.command import run
from nacelle_cluster.errors import ClusterError

SOURCES = Path("/etc/apt")
ARCHIVE = re.compile(r"(?:deb\s+(?:\[[^]]*\]\s*)?|URIs:\s*)(https?://\S+/debian/?)(?:\s|$)")
UPDATE_SECONDS = 300
INSTALL_SECONDS = 600
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def mirror(texts: Iterable[str]) -> str:
    """The address of Debian's archive as the machine's own apt sources (their texts) name it."""
    for text in texts:
        for line in text.splitlines():
            found = ARCHIVE.match(line)
            if found and "security" not in found[1]:
                return found[1]
    raise ClusterError(f"no Debian archive in the apt sources under {SOURCES}: add one")


def archive() -> str:
    """The address of Debian's archive that this machine uses."""
    files = [SOURCES / "sources.list", *sorted((SOURCES / "sources.list.d").glob("*"))]
    return mirror(file.read_text() for file in files if file.is_file())


def install(packages: Sequence[str]) -> None:
    """Installs packages of the machine's own release."""
    apt = ["apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={UPDATE_SECONDS}"]
    _run_updating(apt, ["install", "-y", "--no-install-recommends", *packages])


def unpack(packages: Sequence[str], target: Path, *, suite: str | None, work: Path) -> None:
    """Downloads packages, of `suite` or else of the machine's own release, and unpacks them."""
    options = suite_options(suite, work) if suite else []
    apt = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *options]
    downloads = work / "downloads"
    downloads.mkdir(parents=True)
    _run_updating(apt, ["download", *packages], cwd=downloads)
    for deb in sorted(downloads.glob("*.deb")):
        run(["dpkg-deb", "-x", deb, target])


def _run_updating(apt: Sequence[str], words: Sequence[str], cwd: Path | None = None) -> None:
    """Runs an apt command; if it fails, again after reading the package lists anew."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run([*apt, *words], seconds=INSTALL_SECONDS, env=environment, cwd=cwd)
    except ClusterError:  # no lists yet, or too old ones
        run([*apt, "update"], seconds=UPDATE_SECONDS)
        run([*apt, *words], seconds=INSTALL_SECONDS, env=environment, cwd=cwd)


def suite_options(suite: str, work: Path) -> list[str]:
    """apt options that make it read `suite` alone, with lists and cache under `work`."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    sources = work / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {archive()} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::Cache": work / "cache",
    }
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
