"""What this process may use: memory and processors, under the limits of its control groups."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 1 << 60


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can still be taken: the least of the machine's and of every group's above us."""
    least = _meminfo_available(root / "proc/meminfo")
    for folder in _folders(root, "memory"):
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        usage = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is not None and limit < _UNLIMITED:
            # Page cache that the kernel gives back first does not count as used.
            least = min(least, limit - (usage or 0) + _inactive_file(folder))
    return max(least, 0)


def usable_processors(root: Path = Path("/")) -> int:
    """How many threads can run at once: the affinity mask, and every group's CPU quota above us."""
    processors = len(os.sched_getaffinity(0))
    for folder in _folders(root, "cpu"):
        quota = _quota(folder)
        if quota is not None:
            processors = min(processors, max(1, math.ceil(quota)))
    return processors


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Our group's folder for a controller and all above it, for cgroup v2 and v1.

    /proc/self/cgroup has lines "0::/path" (v2) and "4:memory:/path" (v1, several controllers
    joined by commas); in a container the path may not exist below the mount: its root stands in.
    """
    file = root / "proc/self/cgroup"
    for line in file.read_text().splitlines() if file.exists() else []:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers if controllers else root / "sys/fs/cgroup"
        folder = mount / path.lstrip("/")
        while folder != mount:
            yield folder
            folder = folder.parent
        yield mount


def _quota(folder: Path) -> float | None:
    """Processors by quota / period: cpu.max ("max 100000" is none), or the two v1 files."""
    v2 = folder / "cpu.max"
    if v2.exists():
        quota, period = v2.read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    micros, per = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
    return micros / per if micros and per and micros > 0 else None


def _inactive_file(folder: Path) -> int:
    """The group's inactive page cache, in bytes."""
    file = folder / "memory.stat"
    for line in file.read_text().splitlines() if file.exists() else []:
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _meminfo_available(file: Path) -> int:
    for line in file.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return _UNLIMITED


def _number(file: Path) -> int | None:
    """The number in a file; None when there is no file or it says "max"."""
    if not file.exists():
        return None
    text = file.read_text().strip()
    return None if text == "max" else int(text)
