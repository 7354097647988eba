"""Whom an event wakes."""

from typing import Any

import pytest
from build_world import TOOLCHAIN, spec

from nacelle_operator.cache import ObjectCache
from nacelle_operator.index import indexers
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, INFERENCE_DEPLOYMENT, JOB, POD, Kind
from nacelle_operator.routing import affected

BUILD_STATUS = {
    "targets": [
        {
            "name": "t",
            "engineRef": {"name": "eng-1"},
            "jobs": ["build-1"],
            "architecture": "x86-64-v3",
            "requestKey": "ab" * 32,
        }
    ]
}


def made(name: str, labels: dict[str, str] | None = None, **rest: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "1"}
    return {"metadata": {**meta, "labels": labels or {}}, **rest}


def going(name: str, labels: dict[str, str]) -> dict[str, Any]:
    manifest = made(name, labels)
    manifest["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    return manifest


@pytest.fixture
def cache() -> ObjectCache:
    cache = ObjectCache(indexers(TOOLCHAIN))
    cache.put(ENGINE_BUILD, made("b", spec=spec(), status=BUILD_STATUS))
    cache.put(ENGINE_BUILD, made("other", spec=spec(modelName="other", limits={"maxBatchSize": 2})))
    build_ref = {"engine": {"buildRef": {"name": "b", "target": "t"}}}
    cache.put(INFERENCE_DEPLOYMENT, made("d", spec=build_ref))
    engine_ref = {"engine": {"engineRef": {"name": "eng-1"}}}
    cache.put(INFERENCE_DEPLOYMENT, made("e", spec=engine_ref, status={"previousEngine": "eng-0"}))
    return cache


@pytest.mark.parametrize(
    ("kind", "manifest", "woken"),
    [
        (
            ENGINE_BUILD,
            made("b", status=BUILD_STATUS),
            "EngineBuild/b InferenceDeployment/d Engine/eng-1",
        ),
        (ENGINE_BUILD, made("other"), "EngineBuild/other"),
        (
            ENGINE,
            made("eng-1"),
            "Engine/eng-1 EngineBuild/b InferenceDeployment/d InferenceDeployment/e",
        ),
        (ENGINE, made("eng-0"), "Engine/eng-0 InferenceDeployment/e"),
        (
            INFERENCE_DEPLOYMENT,
            made("x", status={"currentEngine": "eng-1", "targetEngine": "eng-2"}),
            "InferenceDeployment/x Engine/eng-1 Engine/eng-2",
        ),
        (
            JOB,
            made("build-1", {"nacelle.dev/engine-build": "gone"}),
            "EngineBuild/gone EngineBuild/b",
        ),
        (
            POD,
            made(
                "build-1-x",
                {"nacelle.dev/engine-build": "other", "batch.kubernetes.io/job-name": "build-1"},
            ),
            "EngineBuild/other EngineBuild/b",
        ),
        (JOB, made("inspect-1", {"nacelle.dev/engine": "eng-1"}), "Engine/eng-1"),
        (
            POD,
            made("d-a-x", {"nacelle.dev/inference-deployment": "d", "nacelle.dev/engine": "eng-1"}),
            "InferenceDeployment/d",
        ),
        (
            POD,
            going(
                "d-a-x",
                {
                    "nacelle.dev/inference-deployment": "d",
                    "nacelle.dev/engine": "eng-0",
                    "nacelle.dev/draft-engine": "eng-9",
                },
            ),
            "InferenceDeployment/d Engine/eng-0 Engine/eng-9",
        ),
        (JOB, made("somebody's"), ""),
    ],
)
def test_whom_an_event_wakes(
    cache: ObjectCache, kind: Kind, manifest: dict[str, Any], woken: str
) -> None:
    keys = {f"{key.kind}/{key.name}" for key in affected(cache, kind, manifest)}
    assert keys == set(woken.split())
