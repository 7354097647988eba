"""Numbers are claimed once, and the machine's settings come back with the last cluster."""

import errno
from pathlib import Path

import pytest

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.machine import CHANGED_SETTINGS, Machine, choose_index
from nacelle_cluster.spec import MAX_CLUSTERS


@pytest.fixture
def proc(tmp_path):
    for name in CHANGED_SETTINGS:
        path = tmp_path / "proc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0\n")
    return tmp_path / "proc"


@pytest.fixture
def point(tmp_path):
    return tmp_path / "mount-point"


@pytest.fixture
def machine(tmp_path, proc, point):
    return Machine(tmp_path / "run", proc, (str(point),))


@pytest.mark.parametrize(
    ("claims", "before", "index"),
    [
        ({}, 0, 0),
        ({}, 5, 5),
        ({5: "/other"}, 5, 0),
        ({0: "/other", 1: "/another"}, 0, 2),
        ({3: "/mine", 0: "/other"}, 0, 3),
    ],
)
def test_a_cluster_keeps_its_number_while_nobody_else_has_it(claims, before, index):
    assert choose_index(claims, "/mine", before) == index


def test_one_cluster_too_many_is_refused():
    claims = {index: f"/{index}" for index in range(MAX_CLUSTERS)}
    with pytest.raises(ClusterError, match="64 clusters"):
        choose_index(claims, "/mine", 0)


def test_settings_come_back_with_the_last_cluster_only(machine, proc, point, tmp_path):
    first = machine.claim("one", tmp_path)
    changed = proc / CHANGED_SETTINGS[0]
    changed.write_text("1")
    point.mkdir()
    second = machine.claim("two", tmp_path)
    assert (first.index, second.index) == (0, 1)
    machine.release(first)
    assert changed.read_text() == "1"
    assert machine.leftovers(second) == ["number 1"]
    machine.release(second)
    assert changed.read_text() == "0"
    assert not point.exists()
    assert machine.leftovers(second) == []


def test_a_mount_point_that_was_there_stays(machine, point, tmp_path):
    point.mkdir()
    machine.release(machine.claim("one", tmp_path))
    assert point.is_dir()


def test_a_killed_up_leaves_what_it_found_for_the_next(machine, proc, tmp_path):
    machine.claim("one", tmp_path)
    (proc / CHANGED_SETTINGS[0]).write_text("1")
    again = machine.claim("one", tmp_path)
    machine.release(again)
    assert (proc / CHANGED_SETTINGS[0]).read_text() == "0"


def test_a_number_taken_by_another_cache_is_left_alone(machine, tmp_path):
    mine = machine.claim("one", tmp_path / "a")
    machine.release(mine)
    other = machine.claim("one", tmp_path / "b")
    assert other.index == mine.index
    assert not machine.may_use(mine)
    assert machine.may_use(other)
    machine.release(mine)
    assert not machine.may_use(mine)
    assert machine.claim("one", tmp_path / "a").index == 1


@pytest.fixture
def full_disk(monkeypatch, tmp_path):
    """The disk of the cache is full: files can be made there, and stay empty."""

    def write_text(path, text):
        with path.open("w") as file:
            if path.is_relative_to(tmp_path / "cache"):
                raise OSError(errno.ENOSPC, "No space left on device")
            file.write(text)

    def fill():
        monkeypatch.setattr(Path, "write_text", write_text)

    return fill


def test_a_full_disk_leaves_the_number_and_no_claim_that_nobody_knows(machine, tmp_path, full_disk):
    cache = tmp_path / "cache"
    machine.release(machine.claim("one", cache))
    full_disk()
    with pytest.raises(OSError, match="No space left"):
        machine.claim("one", cache)
    assert (cache / "clusters/one/index").read_text() == "0"
    assert [path.name for path in (tmp_path / "run").glob("[0-9]*")] == []


def test_a_claim_that_goes_while_it_is_looked_at_is_none(machine, tmp_path, monkeypatch):
    one, two = (machine.claim(name, tmp_path) for name in ("one", "two"))
    read_text = Path.read_text

    def read_late(path, *arguments, **options):
        if path == tmp_path / "run" / "1" and path.exists():
            path.unlink()
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_late)
    assert machine.leftovers(one) == ["number 0"]
    assert machine.may_use(two)
