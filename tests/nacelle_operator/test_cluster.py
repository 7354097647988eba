"""The door and the watch on a real API server: typed errors, applied fields, events, leases."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from api_proxy import ApiProxy
from build_world import TOOLCHAIN

from nacelle_operator import feed as feed_module
from nacelle_operator.cache import ObjectCache
from nacelle_operator.cluster import Cluster, connect
from nacelle_operator.errors import (
    Conflict,
    NamespaceEnds,
    NotFound,
    NotLeader,
    Refused,
    Unavailable,
)
from nacelle_operator.feed import CHILD_SELECTOR, Feed
from nacelle_operator.index import indexers
from nacelle_operator.kinds import ENGINE_BUILD, JOB, LEASE, SERVICE, Kind
from nacelle_operator.leader import Leader, LeaseName
from nacelle_operator.metrics import Metrics
from nacelle_operator.objects.names import FIELD_MANAGER, MANAGED_BY
from nacelle_operator.queue import Key
from nacelle_operator.watch import Watch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
]
Manifest = dict[str, Any]
# The client library reads KUBECONFIG into this when it is first imported.
LOCATION = "kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION"


@pytest.fixture
def cluster(control_plane: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(LOCATION, str(control_plane.kubeconfig))
    yield connect(lambda: True)


def service(namespace: str, **labels: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": namespace, "labels": labels},
        "spec": {"ports": [{"port": 80}]},
    }


def test_apply_takes_away_what_it_no_longer_says_and_leaves_what_others_said(
    cluster: Cluster, namespace: Any
) -> None:
    cluster.apply(service(namespace.name, ours="1", old="1"))
    namespace.merge("v1", "services", "s", {"metadata": {"labels": {"theirs": "1"}}})
    applied = cluster.apply(service(namespace.name, ours="2"))
    assert applied["metadata"]["labels"] == {"ours": "2", "theirs": "1"}


def test_errors_are_typed(cluster: Cluster, namespace: Any) -> None:
    made = cluster.create(service(namespace.name))
    with pytest.raises(Conflict, match="already exists"):
        cluster.create(service(namespace.name))
    with pytest.raises(NotFound):
        cluster.get(JOB, namespace.name, "none")
    wrong = service(namespace.name)
    wrong["metadata"]["name"] = "wrong"
    wrong["spec"]["ports"][0]["port"] = -1
    with pytest.raises(Refused, match=r"spec\.ports\[0\]\.port"):
        cluster.apply(wrong)
    another = {**made, "metadata": {**made["metadata"], "uid": "another"}}
    with pytest.raises(Conflict):
        cluster.delete(another)
    cluster.delete(made)
    cluster.delete(made)
    assert cluster.list(SERVICE, namespace.name).items == []


def test_nothing_new_is_refused_for_good_where_a_namespace_ends(
    control_plane: Any, cluster: Cluster
) -> None:
    name = "that-ends"
    control_plane.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    held = service(name)
    held["metadata"]["finalizers"] = ["example.org/held"]
    cluster.create(held)
    control_plane.call("DELETE", f"/api/v1/namespaces/{name}")
    another = service(name)
    another["metadata"]["name"] = "another"
    try:
        for write in (cluster.create, cluster.apply):
            with pytest.raises(NamespaceEnds, match=r"403.* being terminated"):
                write(another)
    finally:
        cluster.merge(SERVICE, name, "s", {"metadata": {"finalizers": None}})


def test_a_status_never_lands_on_a_namesake(cluster: Cluster, namespace: Any) -> None:
    manifest = {
        "apiVersion": ENGINE_BUILD.api_version,
        "kind": ENGINE_BUILD.name,
        "metadata": {"name": "b", "namespace": namespace.name, "uid": "gone"},
        "status": {"progressPercent": 5},
    }
    with pytest.raises((Conflict, NotFound)):
        cluster.apply_status(manifest)


def test_only_the_leader_writes(control_plane: Any, cluster: Cluster, namespace: Any) -> None:
    standby = connect(lambda: False)
    with pytest.raises(NotLeader):
        standby.apply(service(namespace.name))
    assert standby.list(SERVICE, namespace.name).items == []


def test_a_server_that_takes_calls_and_never_answers_is_unavailable(
    control_plane: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = json.loads(control_plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setattr(LOCATION, str(tmp_path / "kubeconfig"))
        with pytest.raises(Unavailable, match="timed out"):
            connect(lambda: True).get(JOB, "default", "any", timeout=0.2)


def test_its_end_waits_for_the_writes_under_way_and_sends_no_more(
    control_plane: Any, namespace: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    come, let, over = threading.Event(), threading.Event(), []

    def held(method: str, path: str) -> None:
        if method == "PATCH":
            come.set()
            let.wait()

    with ApiProxy(control_plane, tmp_path, fault=held).running() as proxy:
        monkeypatch.setattr(LOCATION, str(proxy.kubeconfig))
        door = connect(lambda: True)

        def write() -> None:
            door.apply(service(namespace.name))
            over.append("write")

        def end() -> None:
            door.end_writes()
            over.append("end")

        threads = [threading.Thread(target=work) for work in (write, end)]
        threads[0].start()
        assert come.wait(30)
        threads[1].start()
        with pytest.raises(NotLeader, match="this process ends"):
            while True:
                with contextlib.suppress(Conflict):
                    door.create(service(namespace.name))
        assert over == []
        let.set()
        for thread in threads:
            thread.join(30)
        assert over == ["write", "end"]


def test_lists_are_read_page_by_page(
    cluster: Cluster, namespace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nacelle_operator.cluster._PAGE", 2)
    for number in range(5):
        manifest = service(namespace.name, run="x")
        manifest["metadata"]["name"] = f"s{number}"
        cluster.apply(manifest)
    listing = cluster.list(SERVICE, namespace.name, "run=x")
    assert [item["metadata"]["name"] for item in listing.items] == [f"s{n}" for n in range(5)]
    assert listing.version >= max(int(i["metadata"]["resourceVersion"]) for i in listing.items)


def test_the_lease_changes_hands_on_a_real_server(cluster: Cluster, namespace: Any) -> None:
    leaders = [
        Leader(cluster, LeaseName(namespace.name, "lease", name), lambda: None)
        for name in ("one", "two")
    ]
    assert leaders[0].step() and leaders[0].holds()
    assert leaders[1].step() and not leaders[1].holds()
    leaders[0].release()
    assert leaders[1].step() and leaders[1].holds()
    lease = cluster.get(LEASE, namespace.name, "lease")
    assert lease["spec"]["holderIdentity"] == "two" and lease["spec"]["leaseTransitions"] == 1


def test_the_watch_tells_of_everything_and_writes_nothing(
    cluster: Cluster, namespace: Any, until: Callable[..., Any]
) -> None:
    seen: list[tuple[Kind, str | None, str]] = []
    lock = threading.Lock()

    def sink(kind: Kind, event: str | None, manifest: Mapping[str, Any]) -> None:
        with lock:
            seen.append((kind, event, manifest["metadata"]["name"]))

    cluster.apply(service(namespace.name, **{MANAGED_BY: FIELD_MANAGER}))
    namespace.create("enginebuilds", engine_build("before"))
    watch = Watch((namespace.name,), CHILD_SELECTOR, sink)
    watch.start()
    try:
        # Each kind's watch begins for itself: what is made before is of its list, and not ADDED.
        until(lambda: {(SERVICE, None, "s"), (ENGINE_BUILD, None, "before")} <= set(seen))
        foreign = service(namespace.name)
        foreign["metadata"]["name"] = "foreign"
        namespace.create("services", foreign)
        build = namespace.create("enginebuilds", engine_build())
        until(lambda: (ENGINE_BUILD, "ADDED", "b") in seen)
        namespace.merge("nacelle.dev/v1alpha1", "enginebuilds", "b", {"spec": {"suspend": True}})
        until(lambda: (ENGINE_BUILD, "MODIFIED", "b") in seen)
        namespace.delete("nacelle.dev/v1alpha1", "enginebuilds", "b")
        until(lambda: (ENGINE_BUILD, "DELETED", "b") in seen)
        assert all(name != "foreign" for _, _, name in seen)
        assert "finalizers" not in build["metadata"]
        # The API server itself tells of a service whose address it had not noted yet.
        told = namespace.list("events.k8s.io/v1", "events")
        assert {one["reportingController"] for one in told} <= {"ipallocator-repair-controller"}
    finally:
        watch.close()
    assert watch.has_ended()


async def test_a_sync_wakes_every_resource_and_finds_what_is_gone(
    cluster: Cluster, namespace: Any
) -> None:
    cache, woken = ObjectCache(indexers(TOOLCHAIN)), list[Key]()
    feed = Feed(cache, cluster, woken.append, namespaces=(namespace.name,), metrics=Metrics())
    build = namespace.create("enginebuilds", engine_build())
    await feed.sync()
    assert feed.synced and set(woken) == {Key("EngineBuild", namespace.name, "b")}
    woken.clear()
    namespace.delete("nacelle.dev/v1alpha1", "enginebuilds", "b")
    await feed.sync()
    assert set(woken) == {Key("EngineBuild", namespace.name, "b")}
    assert cache.get(ENGINE_BUILD, namespace.name, "b") is None
    feed.take_in(ENGINE_BUILD, "MODIFIED", build)
    assert cache.get(ENGINE_BUILD, namespace.name, "b") is None


async def test_what_went_or_changed_before_a_watch_began_is_found_soon(
    cluster: Cluster, namespace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "SOON_SECONDS", (0.0,))
    cache, woken = ObjectCache(indexers(TOOLCHAIN)), list[Key]()
    feed = Feed(cache, cluster, woken.append, namespaces=(namespace.name,), metrics=Metrics())
    for name in ("same", "gone", "changed"):
        namespace.create("enginebuilds", engine_build(name))
    await feed.sync()
    woken.clear()
    namespace.delete("nacelle.dev/v1alpha1", "enginebuilds", "gone")
    namespace.merge("nacelle.dev/v1alpha1", "enginebuilds", "changed", {"spec": {"suspend": True}})
    looking = asyncio.create_task(feed.resync())
    try:
        async with asyncio.timeout(30):
            while len(woken) < 2:
                await asyncio.sleep(0.01)
        assert set(woken) == {Key("EngineBuild", namespace.name, n) for n in ("gone", "changed")}
        assert cache.get(ENGINE_BUILD, namespace.name, "gone") is None
        changed = cache.get(ENGINE_BUILD, namespace.name, "changed")
        assert changed and changed["spec"]["suspend"] is True
    finally:
        looking.cancel()


def engine_build(name: str = "b") -> Manifest:
    return {
        "apiVersion": ENGINE_BUILD.api_version,
        "kind": ENGINE_BUILD.name,
        "metadata": {"name": name},
        "spec": {
            "modelName": "m",
            "model": {"persistentVolumeClaim": {"claimName": "models"}},
            "targets": [{"name": "cpu", "architecture": "x86-64-v3"}],
            "store": {"persistentVolumeClaim": {"claimName": "engines"}},
        },
    }
