"""What clusters share of the machine: their numbers, and settings that come back with the last.

A folder under /run holds one claim a running cluster (file name: its index, content: its state
folder), so that clusters of different caches and users keep apart, and what the first one found:
the kubelet changes settings of the whole machine, and the node needs mount points in /var.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.lock import locked
from nacelle_cluster.spec import MAX_CLUSTERS, ClusterSpec

CHANGED_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
MOUNT_POINTS = (
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
)


class Machine:
    """Claims and saved settings under one folder; `proc` is where settings are read and written."""

    def __init__(
        self,
        folder: Path = Path("/run/nacelle"),
        proc: Path = Path("/proc/sys"),
        mount_points: tuple[str, ...] = MOUNT_POINTS,
    ) -> None:
        self._folder = folder
        self._proc = proc
        self._mount_points = mount_points

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self._folder / "lock", "taking or giving back a cluster's number", seconds=60):
            yield

    def _claims(self) -> dict[int, str]:
        claims = {}
        for path in self._folder.glob("*"):
            if path.name.isdigit():
                # Who only looks does not wait for the lock: another cluster may go down meanwhile.
                with suppress(FileNotFoundError):
                    claims[int(path.name)] = path.read_text()
        return claims

    def claim(self, name: str, home: Path) -> ClusterSpec:
        """Gives a cluster its number, the one it had before if nobody else has taken it."""
        with self._locked():
            claims = self._claims()
            folder = str(ClusterSpec(name, 0, home).folder)
            remembered = Path(folder) / "index"
            before = int(remembered.read_text()) if remembered.is_file() else 0
            index = choose_index(claims, folder, before)
            if not claims:
                self._save()
            # First what is harmless without the other: a claim that no folder knows stays for good.
            remembered.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(remembered, str(index))
            _write_whole(self._folder / str(index), folder)
            return ClusterSpec(name, index, home)

    def release(self, spec: ClusterSpec) -> None:
        """Gives the number back; with the last one the machine's settings come back too."""
        with self._locked():
            if self._claims().get(spec.index) == str(spec.folder):
                (self._folder / str(spec.index)).unlink()
            if not self._claims():
                self._restore()

    def number_of(self, folder: Path) -> int | None:
        """The number that the cluster of that folder holds, or None when it holds none."""
        return next((i for i, owner in self._claims().items() if owner == str(folder)), None)

    def may_use(self, spec: ClusterSpec) -> bool:
        """Whether the cluster's number is its own or nobody's."""
        return self._claims().get(spec.index) in {None, str(spec.folder)}

    def _save(self) -> None:
        settings = {
            name: (self._proc / name).read_text().strip()
            for name in CHANGED_SETTINGS
            if (self._proc / name).exists()
        }
        made = [folder for folder in self._mount_points if not Path(folder).exists()]
        if not self._saved.exists():  # else it is what a killed first `up` had found
            _write_whole(self._saved, json.dumps({"settings": settings, "made": made}))

    def _restore(self) -> None:
        if not self._saved.exists():
            return
        saved = json.loads(self._saved.read_text())
        for name, value in saved["settings"].items():
            if (self._proc / name).read_text().strip() != value:
                (self._proc / name).write_text(value)
        for folder in saved["made"]:
            if Path(folder).is_dir() and not any(Path(folder).iterdir()):
                Path(folder).rmdir()
        self._saved.unlink()

    @property
    def _saved(self) -> Path:
        return self._folder / "found.json"

    def leftovers(self, spec: ClusterSpec) -> list[str]:
        """The cluster's claim, and settings not put back although no cluster holds a number."""
        claims = self._claims()
        found = [f"number {spec.index}"] if claims.get(spec.index) == str(spec.folder) else []
        if not claims and self._saved.exists():
            found.append(f"settings of the machine not put back (see {self._saved})")
        return found


def _write_whole(path: Path, text: str) -> None:
    """Writes a file at once or not at all: half a number or none would stop every later command."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(text)
    unfinished.rename(path)


def choose_index(claims: dict[int, str], folder: str, before: int) -> int:
    """The number of the cluster in `folder`: its claim, else `before` if free, else the lowest."""
    for index, owner in claims.items():
        if owner == folder:
            return index
    free = set(range(MAX_CLUSTERS)) - set(claims)
    if not free:
        raise ClusterError(f"{MAX_CLUSTERS} clusters run on this machine, the most: stop one")
    return before if before in free else min(free)
