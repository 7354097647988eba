"""Whose reconcile an event concerns: the resource itself, the parents of a child, its users."""

from collections.abc import Iterator, Mapping
from typing import Any

from nacelle_operator.cache import ObjectCache
from nacelle_operator.index import (
    BY_BUILD,
    BY_ENGINE,
    BY_JOB,
    engines_of_build,
    engines_of_deployment,
)
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, INFERENCE_DEPLOYMENT, RESOURCES, Kind
from nacelle_operator.objects import names
from nacelle_operator.queue import Key

Manifest = Mapping[str, Any]


def taken_in(cache: ObjectCache, kind: Kind, manifest: Manifest) -> set[Key]:
    """Put an object into the cache; the keys to reconcile after that, none if it is not news.

    Whoever puts one has to wake them: its watch event comes later, and is no news any more.
    """
    meta = manifest["metadata"]
    before = cache.get(kind, meta.get("namespace", ""), meta["name"])
    if not cache.put(kind, manifest):
        return set()
    return {key for seen in (before, manifest) if seen for key in affected(cache, kind, seen)}


def affected(cache: ObjectCache, kind: Kind, manifest: Manifest) -> Iterator[Key]:
    """The keys to reconcile after this object has changed or gone."""
    meta = manifest["metadata"]
    namespace, name = meta.get("namespace", ""), meta["name"]
    if kind in RESOURCES:
        yield Key(kind.name, namespace, name)
    if kind == ENGINE:
        yield from _users_of_engine(cache, namespace, name)
    elif kind == ENGINE_BUILD:
        yield from _deployments_of_build(cache, namespace, name)
        yield from _keys(ENGINE, namespace, engines_of_build(manifest))
    elif kind == INFERENCE_DEPLOYMENT:
        yield from _keys(ENGINE, namespace, engines_of_deployment(manifest))
    else:
        yield from _parents(cache, manifest)


def _parents(cache: ObjectCache, child: Manifest) -> Iterator[Key]:
    meta = child["metadata"]
    namespace, labels = meta.get("namespace", ""), meta.get("labels", {})
    if names.DEPLOYMENT in labels:
        yield Key(INFERENCE_DEPLOYMENT.name, namespace, labels[names.DEPLOYMENT])
        if meta.get("deletionTimestamp"):
            # It may be the last to serve an engine that its deployment names no more.
            served = {labels[use] for use in (names.ENGINE, names.DRAFT_ENGINE) if use in labels}
            yield from _keys(ENGINE, namespace, served)
    elif names.BUILD in labels:
        yield Key(ENGINE_BUILD.name, namespace, labels[names.BUILD])
        job = labels.get(names.JOB_NAME, meta["name"])
        for build in cache.referring(ENGINE_BUILD, namespace, BY_JOB, job):
            yield Key(ENGINE_BUILD.name, namespace, build["metadata"]["name"])
    elif names.ENGINE in labels:
        yield Key(ENGINE.name, namespace, labels[names.ENGINE])


def _users_of_engine(cache: ObjectCache, namespace: str, name: str) -> Iterator[Key]:
    for build in cache.referring(ENGINE_BUILD, namespace, BY_ENGINE, name):
        yield Key(ENGINE_BUILD.name, namespace, build["metadata"]["name"])
        # A deployment that waits for the build does not name its engine yet.
        yield from _deployments_of_build(cache, namespace, build["metadata"]["name"])
    for deployment in cache.referring(INFERENCE_DEPLOYMENT, namespace, BY_ENGINE, name):
        yield Key(INFERENCE_DEPLOYMENT.name, namespace, deployment["metadata"]["name"])


def _deployments_of_build(cache: ObjectCache, namespace: str, name: str) -> Iterator[Key]:
    for deployment in cache.referring(INFERENCE_DEPLOYMENT, namespace, BY_BUILD, name):
        yield Key(INFERENCE_DEPLOYMENT.name, namespace, deployment["metadata"]["name"])


def _keys(kind: Kind, namespace: str, found: set[str]) -> Iterator[Key]:
    return (Key(kind.name, namespace, name) for name in sorted(found))
