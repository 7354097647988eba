"""Who uses an engine: as long as one does, it is never collected."""

from datetime import timedelta
from typing import Any

import pytest
from build_world import KEY, START, TOOLCHAIN, spec
from serving_cases import engine_spec

from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.request import target_requests
from nacelle_operator.cache import Keep, ObjectCache
from nacelle_operator.engines.collection import Collection
from nacelle_operator.engines.planner import EnginePlanner
from nacelle_operator.errors import NotFound
from nacelle_operator.index import indexers
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, INFERENCE_DEPLOYMENT, POD, Kind
from nacelle_operator.live_look import LiveLook
from nacelle_operator.objects import names
from nacelle_operator.queue import Key

NAME = f"eng-{KEY[:16]}"
OTHER = {"engine": {"engineRef": {"name": "eng-" + "9" * 16}}}
Manifest = dict[str, Any]


class Nothing:
    """An API server with nothing but what the cache knows."""

    items: tuple[Manifest, ...] = ()

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest:
        raise NotFound(name)

    def list(self, kind: Kind, namespace: str, selector: str = "", *, keep: Keep) -> "Nothing":
        return self


def made(name: str, labels: dict[str, str] | None = None, **rest: Any) -> Manifest:
    meta = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1", "generation": 1}
    return {"metadata": {**meta, "labels": labels or {}}, **rest}


def request_key() -> str:
    build = EngineBuild.parse(made("b", spec=spec()))
    return names.key_label(target_requests(build, TOOLCHAIN)[0].key)


def of_pod(label: str) -> list[tuple[Kind, Manifest]]:
    pod = made("d-a-1", {names.DEPLOYMENT: "d", label: NAME})
    return [(POD, pod), (INFERENCE_DEPLOYMENT, made("d", spec=OTHER))]


def deployment(spec: Manifest | None = None, **status: str) -> list[tuple[Kind, Manifest]]:
    return [(INFERENCE_DEPLOYMENT, made("d", spec=spec or OTHER, status=status))]


PUBLISHED = {"targets": [{"name": "cpu", "engineRef": {"name": NAME}}]}
DRAFTS = {**OTHER, "runtime": {"speculative": {"draftEngineRef": {"name": NAME}}}}
USES: dict[str, list[tuple[Kind, Manifest]]] = {
    "a build that has published it": [
        (ENGINE_BUILD, made("other", spec=spec(limits={"maxBatchSize": 8}), status=PUBLISHED))
    ],
    "a build that asks for it and does not know yet": [(ENGINE_BUILD, made("other", spec=spec()))],
    "a deployment that names it": deployment({"engine": {"engineRef": {"name": NAME}}}),
    "a deployment that serves it": deployment(currentEngine=NAME),
    "a deployment that will serve it": deployment(targetEngine=NAME),
    "a deployment that served it last": deployment(previousEngine=NAME),
    "a deployment that drafts with it": deployment(DRAFTS),
    "pods that are not gone yet": of_pod(names.ENGINE),
    "pods that draft with it and are not gone yet": of_pod(names.DRAFT_ENGINE),
}


async def created(others: list[tuple[Kind, Manifest]]) -> tuple[list[str], list[Manifest]]:
    """The names of what an engine whose build is gone leads to, and its users."""
    cache = ObjectCache(indexers(TOOLCHAIN))
    labels = {names.REQUEST_KEY: request_key(), names.BUILD: "gone"}
    cache.put(ENGINE, made(NAME, labels, spec=engine_spec(KEY, deletionPolicy="Delete")))
    for kind, manifest in others:
        cache.put(kind, manifest)
    look = LiveLook(cache, Nothing(), lambda _: None)
    planner = EnginePlanner(cache, look, TOOLCHAIN, Collection(timedelta()))
    plan = await planner(Key(ENGINE.name, "ns", NAME), START)
    assert plan.status is not None
    return [m["metadata"]["name"] for m in plan.creates], plan.status["usedBy"]


@pytest.mark.parametrize("use", USES)
async def test_an_engine_that_is_used_stays(use: str) -> None:
    made, users = await created(USES[use])
    assert made == [] and len(users) == 1


async def test_an_engine_that_nobody_uses_goes() -> None:
    strangers = [*deployment(), (POD, made("x", {names.DEPLOYMENT: "other", names.ENGINE: "e"}))]
    made_of, users = await created(strangers)
    assert made_of == [f"sweep-{KEY[:16]}"] and users == []
