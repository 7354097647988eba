"""What tests keep in a folder is whole or not there, whoever is broken off or comes too."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import triton_server
from kept_folder import kept_folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NACELLE_CACHE", str(tmp_path))
    return tmp_path / "tests"


def test_what_was_broken_off_is_made_anew(cache):
    def broken_off(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_folder("kind", "1", broken_off)
    assert not (cache / "kind/1").exists()
    made = kept_folder("kind", "1", lambda folder: (folder / "whole").touch())
    assert made == cache / "kind/1"
    assert [path.name for path in made.iterdir()] == ["whole"]
    assert kept_folder("kind", "1", broken_off) == made


def test_of_two_that_come_at_once_one_makes_it(cache):
    def make(folder):
        (folder / "begun").mkdir()
        time.sleep(0.2)
        (folder / "whole").touch()

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(kept_folder, "kind", "1", make) for _ in range(2)]
        assert {(one.result() / "whole").is_file() for one in both} == {True}


def test_half_of_libpython_is_not_taken_for_it(cache, monkeypatch):
    def half(packages, target, **_):
        (target / "usr").mkdir()
        raise KeyboardInterrupt

    def whole(packages, target, **_):
        (target / "usr").mkdir()
        (target / "usr/lib.so").touch()

    monkeypatch.setattr(triton_server.debian, "unpack", half)
    with pytest.raises(KeyboardInterrupt):
        triton_server._unpacked("lib.so")
    monkeypatch.setattr(triton_server.debian, "unpack", whole)
    assert triton_server._unpacked("lib.so").is_file()
