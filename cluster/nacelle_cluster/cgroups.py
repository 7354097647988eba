"""The control groups that the cluster's pods live under, in cgroup v1 and v2."""

from pathlib import Path
from typing import Final

from nacelle_cluster.spec import ClusterSpec
from nacelle_cluster.waiting import wait_for

ROOT = Path("/sys/fs/cgroup")
# What the pods weigh beside the rest of the machine, by the file that says so. With the kernel's
# default every terminal's work beside the cluster weighs as much as all of its pods together.
WEIGHTS: Final = {"cpu.shares": "2048", "cpu.weight": "200"}


def folders(spec: ClusterSpec, root: Path = ROOT) -> list[Path]:
    """The cluster's folder in every hierarchy (v2: one, at the root itself)."""
    unified = (root / "cgroup.controllers").exists()
    hierarchies = [root] if unified else [path for path in sorted(root.iterdir()) if path.is_dir()]
    # In v1, `cpu` and `cpuacct` may be links to one `cpu,cpuacct`.
    return [path / spec.cgroup for path in dict.fromkeys(path.resolve() for path in hierarchies)]


def create(spec: ClusterSpec, root: Path = ROOT) -> None:
    """Makes the folders (the kubelet wants its root to exist), v2's controllers handed down."""
    for folder in folders(spec, root):
        folder.mkdir(exist_ok=True)
        controllers = folder / "cgroup.controllers"
        if folder.parent == root and controllers.exists():
            enable = " ".join(f"+{name}" for name in (root / controllers.name).read_text().split())
            for level in (root, folder):
                (level / "cgroup.subtree_control").write_text(enable)
        for name, weight in WEIGHTS.items():
            if (folder / name).exists():
                (folder / name).write_text(weight)


def remove(spec: ClusterSpec, root: Path = ROOT) -> None:
    """Removes the folders; processes that were just killed hold theirs a moment longer."""

    def removed() -> bool:
        for folder in folders(spec, root):
            for inner in sorted(folder.glob("**/"), key=lambda path: -len(path.parts)):
                try:
                    inner.rmdir()
                except OSError:
                    continue
        return not leftovers(spec, root)

    wait_for(
        f"control groups {spec.cgroup} removed",
        removed,
        seconds=20,
        explain=lambda: "\n".join(leftovers(spec, root)),
    )


def leftovers(spec: ClusterSpec, root: Path = ROOT) -> list[str]:
    """The cluster's control groups that exist."""
    return [f"control group {folder}" for folder in folders(spec, root) if folder.exists()]
