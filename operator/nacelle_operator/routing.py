"""Whose reconcile an event concerns: the resource itself, the parents of a child, its users."""

from collections.abc import Iterator, Mapping
from typing import Any

from nacelle_operator.cache import ObjectCache
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, INFERENCE_DEPLOYMENT, RESOURCES, Kind
from nacelle_operator.objects import names
from nacelle_operator.queue import Key

Manifest = Mapping[str, Any]


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


def engines_of_build(build: Manifest) -> set[str]:
    """The Engines that a build's status says it has published."""
    targets = build.get("status", {}).get("targets", ())
    return {target["engineRef"]["name"] for target in targets if target.get("engineRef")}


def engines_of_deployment(deployment: Manifest) -> set[str]:
    """The Engines that a deployment names, serves, rolls out or may roll back to."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    speculative = spec.get("runtime", {}).get("speculative", {})
    refs = (spec.get("engine", {}).get("engineRef", {}), speculative.get("draftEngineRef", {}))
    used = (status.get(field) for field in ("currentEngine", "targetEngine", "previousEngine"))
    return {name for name in (*(ref.get("name") for ref in refs), *used) if name}


def _parents(cache: ObjectCache, child: Manifest) -> Iterator[Key]:
    meta = child["metadata"]
    namespace, labels = meta.get("namespace", ""), meta.get("labels", {})
    if names.DEPLOYMENT in labels:
        yield Key(INFERENCE_DEPLOYMENT.name, namespace, labels[names.DEPLOYMENT])
    elif names.BUILD in labels:
        yield Key(ENGINE_BUILD.name, namespace, labels[names.BUILD])
        job = labels.get(names.JOB_NAME, meta["name"])
        for build in cache.select(ENGINE_BUILD, namespace):
            targets = build.get("status", {}).get("targets", ())
            if any(job in target.get("jobs", ()) for target in targets):
                yield Key(ENGINE_BUILD.name, namespace, build["metadata"]["name"])
    elif names.ENGINE in labels:
        yield Key(ENGINE.name, namespace, labels[names.ENGINE])


def _users_of_engine(cache: ObjectCache, namespace: str, name: str) -> Iterator[Key]:
    for build in cache.select(ENGINE_BUILD, namespace):
        if name in engines_of_build(build):
            yield Key(ENGINE_BUILD.name, namespace, build["metadata"]["name"])
            # A deployment that waits for the build does not name its engine yet.
            yield from _deployments_of_build(cache, namespace, build["metadata"]["name"])
    for deployment in cache.select(INFERENCE_DEPLOYMENT, namespace):
        if name in engines_of_deployment(deployment):
            yield Key(INFERENCE_DEPLOYMENT.name, namespace, deployment["metadata"]["name"])


def _deployments_of_build(cache: ObjectCache, namespace: str, name: str) -> Iterator[Key]:
    for deployment in cache.select(INFERENCE_DEPLOYMENT, namespace):
        if deployment.get("spec", {}).get("engine", {}).get("buildRef", {}).get("name") == name:
            yield Key(INFERENCE_DEPLOYMENT.name, namespace, deployment["metadata"]["name"])


def _keys(kind: Kind, namespace: str, found: set[str]) -> Iterator[Key]:
    return (Key(kind.name, namespace, name) for name in sorted(found))
