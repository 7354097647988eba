"""What is kept under a key, and for how long."""

import os
import time

from result_store import UNUSED_DAYS, ResultStore


def test_tests_are_kept_under_their_key_and_added_to(tmp_path):
    store = ResultStore(tmp_path / "results")
    assert store.passed("a") == frozenset()
    store.keep("a", {"x", "y"})
    store.keep("a", {"z"})
    store.keep("b", {"v"})
    assert (store.passed("a"), store.passed("b")) == ({"x", "y", "z"}, {"v"})
    store.forget("a")
    store.forget("a")
    assert (store.passed("a"), store.passed("b")) == (frozenset(), {"v"})
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["b"]


def test_a_file_that_is_no_list_keeps_nothing(tmp_path):
    (tmp_path / "a").write_text("[")
    assert ResultStore(tmp_path).passed("a") == frozenset()


def test_what_is_not_asked_for_is_deleted_in_time(tmp_path):
    store, now = ResultStore(tmp_path), time.time()
    for name in ("used", "unused"):
        store.keep(name, {"x"})
        os.utime(tmp_path / name, (0, now - UNUSED_DAYS * 86_400 - 60))
    store.passed("used")
    store.delete_unused(now)
    assert [path.name for path in tmp_path.iterdir()] == ["used"]
