"""Parts are built once, whole or not at all; Go's caches are ours to delete or the user's."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.golang import GoCaches, choose_caches
from nacelle_cluster.lock import locked
from nacelle_cluster.parts import PARTS, PROGRAMS, PartStore


@dataclass(frozen=True)
class FilePart:
    """A part of one small file; fails half-way when `broken` exists."""

    broken: Path
    name: str = "file"
    version: str = "1"
    programs: tuple[str, ...] = ("bin/file",)

    def build(self, target: Path, _caches: GoCaches) -> None:
        (target / "bin").mkdir()
        if self.broken.exists():
            raise ClusterError("half-way")
        (target / "bin" / "file").write_text("whole")


def test_a_broken_build_leaves_nothing_that_looks_built(tmp_path):
    broken = tmp_path / "broken"
    broken.touch()
    part, store, told = FilePart(broken), PartStore(tmp_path), []
    with pytest.raises(ClusterError, match="half-way"):
        store.ensure((part,), told.append)
    assert store.missing((part,)) == [part]
    broken.unlink()
    store.ensure((part,), told.append)
    store.ensure((part,), told.append)
    assert store.program(part, "file").read_text() == "whole"
    assert told == ["making file 1 (1 of 1)"] * 2


def test_parts_have_folders_and_programs_of_their_own():
    store = PartStore(Path("/home"))
    assert len({store.folder(part) for part in PARTS}) == len(PARTS)
    assert store.program(PROGRAMS, "kubelet").parent == store.program(PROGRAMS, "kubectl").parent
    assert store.search_path(PARTS).startswith("/home/parts/")


def test_warm_go_caches_are_used_and_kept_and_own_ones_go(tmp_path, monkeypatch):
    monkeypatch.setenv("GOMODCACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("GOCACHE", str(tmp_path / "builds"))
    own = choose_caches(tmp_path / "home", "example.org/x@v1")
    own.modules.mkdir(parents=True)
    own.remove()
    assert own.modules.is_relative_to(tmp_path / "home") and not own.modules.exists()
    (tmp_path / "modules" / "example.org" / "x@v1").mkdir(parents=True)
    warm = choose_caches(tmp_path / "home", "example.org/x@v1")
    warm.remove()
    assert warm.modules == tmp_path / "modules" and warm.modules.is_dir()


def test_a_lock_deleted_by_its_holder_still_keeps_two_apart(tmp_path):
    path, order = tmp_path / "lock", []

    def enter(name):
        with locked(path, "testing", seconds=10):
            order.append(f"{name} in")
            time.sleep(0.2)
            path.unlink()
            order.append(f"{name} out")

    with ThreadPoolExecutor() as pool:
        list(pool.map(enter, "abc"))
    assert [order[i][0] for i in (0, 2, 4)] == [order[i][0] for i in (1, 3, 5)]


def test_a_held_lock_is_named_after_its_deadline(tmp_path):
    with (
        locked(tmp_path / "lock", "building"),
        pytest.raises(ClusterError, match="at building for 0 s"),
        locked(tmp_path / "lock", "building", seconds=0),
    ):
        pass
