"""The cache: versions, deletions, lists after a silent watch, and what it keeps of an object."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nacelle_operator.cache import ObjectCache
from nacelle_operator.kinds import JOB, POD
from nacelle_operator.objects import names

POD_OF_A_JOB = {
    "volumes": [{"name": "v"}],
    "resourceClaims": [{"name": "gpu"}],
    "containers": [
        {"name": "builder", "image": "long", "resources": {"limits": {"memory": "4Gi"}}}
    ],
}


def job(name: str, version: int, uid: str = "", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid or f"uid-{name}",
            "resourceVersion": str(version),
            "labels": labels,
            "managedFields": [{"manager": "x"}],
        },
        "spec": {
            "backoffLimit": 3,
            "template": {"spec": POD_OF_A_JOB},
        },
    }


@pytest.mark.parametrize(("first", "second", "kept"), [(9, 10, 10), (10, 9, 10), (10, 10, 10)])
def test_an_older_version_never_replaces_a_newer_one(first: int, second: int, kept: int) -> None:
    cache = ObjectCache()
    cache.put(JOB, job("a", first))
    assert cache.put(JOB, job("a", second)) is (second > first)
    found = cache.get(JOB, "ns", "a")
    assert found and found["metadata"]["resourceVersion"] == str(kept)


def test_a_deleted_object_is_not_brought_back_by_a_late_answer() -> None:
    cache = ObjectCache()
    cache.put(JOB, job("a", 1))
    cache.remove(JOB, job("a", 3))
    assert cache.put(JOB, job("a", 2)) is False
    assert cache.get(JOB, "ns", "a") is None
    assert cache.put(JOB, job("a", 4, uid="another"))


def test_the_end_of_a_namesake_leaves_the_new_object() -> None:
    cache = ObjectCache()
    cache.put(JOB, job("a", 5, uid="new"))
    cache.remove(JOB, job("a", 3, uid="old"))
    assert cache.get(JOB, "ns", "a")


def test_a_list_tells_what_was_deleted_in_silence_but_nothing_newer_than_itself() -> None:
    cache = ObjectCache()
    cache.put(JOB, job("gone", 3))
    cache.put(JOB, job("stays", 4))
    cache.put(JOB, job("made-since", 30))
    gone = cache.replace(JOB, [job("stays", 4), job("new", 9)], 20, "ns")
    assert [manifest["metadata"]["name"] for manifest in gone] == ["gone"]
    names = [manifest["metadata"]["name"] for manifest in cache.select(JOB, "ns")]
    assert names == ["made-since", "new", "stays"]


def test_select_wants_every_label() -> None:
    cache = ObjectCache()
    cache.put(JOB, job("a", 1, x="1", y="2"))
    cache.put(JOB, job("b", 2, x="1"))
    assert [m["metadata"]["name"] for m in cache.select(JOB, None, {"x": "1"})] == ["a", "b"]
    assert [m["metadata"]["name"] for m in cache.select(JOB, "ns", {"x": "1", "y": "2"})] == ["a"]
    assert cache.select(JOB, "other") == ()


def test_what_is_kept_names_its_kind_and_drops_what_no_plan_reads() -> None:
    cache = ObjectCache()
    cache.put(JOB, job("a", 1))
    cache.put(POD, {**job("p", 1), "spec": {"nodeName": "n", "containers": ["long"]}})
    kept, pod = cache.get(JOB, "ns", "a"), cache.get(POD, "ns", "p")
    assert kept and kept["kind"] == "Job" and kept["apiVersion"] == "batch/v1"
    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == {
        "backoffLimit": 3,
        "template": {
            "spec": {
                "volumes": [{"name": "v"}],
                "resourceClaims": [{"name": "gpu"}],
                "containers": [{"name": "builder", "resources": {"limits": {"memory": "4Gi"}}}],
            }
        },
    }
    assert pod and pod["spec"] == {"nodeName": "n"}


def test_texts_are_kept_once_however_many_objects_hold_them() -> None:
    cache = ObjectCache()
    for name in ("a", "b"):
        text = "".join(["the same ", "text"])
        cache.put(JOB, {**job(name, 1), "status": {"message": text}})
    first, second = (cache.get(JOB, "ns", name) for name in ("a", "b"))
    assert first and second and first["status"]["message"] is second["status"]["message"]


def test_it_is_found_by_what_it_refers_to_now_and_by_nothing_else() -> None:
    cache = ObjectCache({(JOB, "colour"): lambda job: job["spec"]["colours"]})

    def dyed(version: int, *colours: str) -> dict[str, Any]:
        return {**job("a", version), "spec": {"colours": colours}}

    def found(colour: str) -> list[str]:
        return [m["metadata"]["name"] for m in cache.referring(JOB, "ns", "colour", colour)]

    cache.put(JOB, dyed(1, "red", "blue"))
    assert (found("red"), found("blue"), found("green")) == (["a"], ["a"], [])
    cache.put(JOB, dyed(2, "green"))
    assert (found("red"), found("blue"), found("green")) == ([], [], ["a"])
    cache.remove(JOB, dyed(2, "green"))
    assert found("green") == []


@given(st.integers(0, 2**32))
def test_an_index_finds_what_a_look_at_all_would(seed: int) -> None:
    random, cache = Random(seed), ObjectCache()
    labels = (names.BUILD, names.ENGINE, "other")
    for version in range(1, 61):
        chosen = {label: random.choice("xy") for label in labels if random.random() < 0.7}
        made = job(random.choice("abcd"), version, uid=str(version))
        made["metadata"]["labels"] = chosen
        if random.random() < 0.3:
            known = cache.get(JOB, "ns", made["metadata"]["name"])
            if known:
                cache.remove(JOB, known)
        else:
            cache.put(JOB, made)
        wanted = {label: random.choice("xy") for label in labels if random.random() < 0.6}
        every = [
            m for m in cache.select(JOB, "ns") if wanted.items() <= m["metadata"]["labels"].items()
        ]
        assert list(cache.select(JOB, "ns", wanted)) == every
