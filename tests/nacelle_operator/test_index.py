"""Whom builds and deployments refer to, and what one that cannot be read refers to."""

from typing import Any

from build_world import TOOLCHAIN, spec

from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.request import target_requests
from nacelle_operator.cache import ObjectCache
from nacelle_operator.index import BY_BUILD, BY_JOB, BY_REQUEST, indexers
from nacelle_operator.kinds import ENGINE_BUILD, INFERENCE_DEPLOYMENT
from nacelle_operator.objects import names


def build(version: int, generation: int = 1, **fields: Any) -> dict[str, Any]:
    meta = {"name": "b", "namespace": "ns", "uid": "u", "resourceVersion": str(version)}
    return {"metadata": {**meta, "generation": generation}, "spec": spec(), **fields}


def asked(manifest: dict[str, Any], current: Toolchain = TOOLCHAIN) -> tuple[str, str]:
    (request,) = target_requests(EngineBuild.parse(manifest), current)
    return request.job, names.key_label(request.key)


def found(cache: ObjectCache, index: str, value: str) -> bool:
    return bool(cache.referring(ENGINE_BUILD, "ns", index, value))


def test_a_build_is_found_by_what_its_present_spec_asks_for() -> None:
    cache = ObjectCache(indexers(TOOLCHAIN))
    cache.put(ENGINE_BUILD, build(1))
    job, label = asked(build(1))
    assert found(cache, BY_JOB, job) and found(cache, BY_REQUEST, label)
    edited = build(2, 2, spec=spec(limits={"maxBatchSize": 2}))
    cache.put(ENGINE_BUILD, edited)
    assert not found(cache, BY_JOB, job) and not found(cache, BY_REQUEST, label)
    job, label = asked(edited)
    assert found(cache, BY_JOB, job) and found(cache, BY_REQUEST, label)


def test_a_gpus_build_is_found_by_both_of_its_jobs_before_its_status_names_one() -> None:
    cache = ObjectCache(indexers(TOOLCHAIN))
    made = build(1, spec=spec(targets=[{"name": "gpu", "architecture": "sm_90"}]))
    cache.put(ENGINE_BUILD, made)
    (request,) = target_requests(EngineBuild.parse(made), TOOLCHAIN)
    assert [name.partition("-")[0] for name in request.jobs] == ["prepare", "build"]
    assert [found(cache, BY_JOB, name) for name in request.jobs] == [True, True]


def test_a_build_is_found_by_what_its_pinned_toolchain_asks_for() -> None:
    newer = Toolchain(builder_image="builder:2")
    pinned = {"builderImage": TOOLCHAIN.builder_image, "abi": TOOLCHAIN.abi}
    status = {"observedGeneration": 1, "toolchain": pinned}
    cache = ObjectCache(indexers(newer))
    cache.put(ENGINE_BUILD, build(1))
    job, _ = asked(build(1), newer)
    assert found(cache, BY_JOB, job)
    cache.put(ENGINE_BUILD, build(2, status=status))
    assert not found(cache, BY_JOB, job) and found(cache, BY_JOB, asked(build(1))[0])


def test_one_that_cannot_be_read_is_found_by_the_jobs_of_its_status_alone() -> None:
    cache = ObjectCache(indexers(TOOLCHAIN))
    status = {"targets": [{"jobs": ["build-1"]}]}
    assert cache.put(ENGINE_BUILD, build(1, spec={"targets": "none"}, status=status))
    assert found(cache, BY_JOB, "build-1")


def test_a_deployment_is_found_by_its_build() -> None:
    cache = ObjectCache(indexers(TOOLCHAIN))
    reference = {"engine": {"buildRef": {"name": "b", "target": "t"}}}
    cache.put(INFERENCE_DEPLOYMENT, build(1, spec=reference))
    assert cache.referring(INFERENCE_DEPLOYMENT, "ns", BY_BUILD, "b")
    assert not cache.referring(INFERENCE_DEPLOYMENT, "ns", BY_BUILD, "c")
