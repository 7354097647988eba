"""The table of what the node is made of, and the folder where it is built."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster import golang
from nacelle_cluster.errors import ClusterError
from nacelle_cluster.lock import locked
from nacelle_cluster.part import (
    KUBERNETES,
    DebianPart,
    GoPart,
    Part,
    PausePart,
    ProgramsPart,
)

RUNTIME = DebianPart(
    "containerd-etcd-cni",
    "sid",
    ("containerd", "etcd-server", "containernetworking-plugins"),
    "sid",
    ("usr/bin/containerd", "usr/bin/ctr", "usr/bin/etcd", "usr/lib/cni/bridge"),
)
REGISTRY = DebianPart(
    "registry-busybox",
    "stable",
    ("docker-registry", "busybox-static"),
    None,
    ("usr/bin/docker-registry", "bin/busybox"),
)
PAUSE = PausePart()
# sid's runc needs a newer libc than bookworm's, and bookworm's own is too old for user namespaces.
RUNC = GoPart("runc", "1.5.2", "github.com/opencontainers/runc", "-X main.version=1.5.2", "seccomp")
PROGRAMS = ProgramsPart()

PARTS: tuple[Part, ...] = (RUNTIME, REGISTRY, PAUSE, RUNC, PROGRAMS)
# Programs that a cluster starts only when it is told to.
ON_REQUEST = ("kwok",)
GO_WITNESS = f"k8s.io/kubernetes@v{KUBERNETES}"


@dataclass(frozen=True)
class PartStore:
    """The folder of built parts, one folder `name-version` a part."""

    home: Path

    def folder(self, part: Part) -> Path:
        """Where a part lies, or will lie."""
        return self.home / "parts" / f"{part.name}-{part.version}"

    def program(self, part: Part, name: str) -> Path:
        """The path of one program of a part."""
        for path in part.programs:
            if Path(path).name == name:
                return self.folder(part) / path
        raise KeyError(f"{part.name} has no program {name}")

    def search_path(self, parts: tuple[Part, ...]) -> str:
        """A PATH with the programs of these parts before the machine's own."""
        folders = dict.fromkeys((self.folder(p) / q).parent for p in parts for q in p.programs)
        return ":".join([*map(str, folders), "/usr/sbin", "/usr/bin", "/sbin", "/bin"])

    def missing(self, parts: tuple[Part, ...]) -> list[Part]:
        """Those that are not built yet."""
        return [part for part in parts if not self.folder(part).is_dir()]

    def ensure(self, parts: tuple[Part, ...], report: Callable[[str], None]) -> None:
        """Builds what is missing, one after the other (a Go build takes every core by itself).

        A part is made in a folder aside and renamed when whole: half a part is never taken for one.
        """
        if not self.missing(parts):
            return
        with locked(self.home / "parts.lock", "building the cluster's parts"):
            caches = golang.choose_caches(self.home, GO_WITNESS)
            missing = self.missing(parts)
            for number, part in enumerate(missing, 1):
                report(f"making {part.name} {part.version} ({number} of {len(missing)})")
                folder = self.folder(part)
                unfinished = folder.with_name(f".{folder.name}")
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir(parents=True)
                part.build(unfinished, caches)
                for program in part.programs:
                    if not (unfinished / program).exists():
                        raise ClusterError(f"making {part.name} did not give {program}")
                unfinished.rename(folder)
            caches.remove()
