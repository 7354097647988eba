"""Each check's exact reason and message."""

import json
from dataclasses import replace
from typing import Any

import pytest
from serving_cases import IMAGES, OLD, TRITONS, build, condition, deployment, engine, pod

from nacelle_engine.abi import ABI
from nacelle_engine.errors import CorruptBundle, TargetMismatch
from nacelle_engine.result import Failure, Result
from nacelle_operator.deployment import reasons
from nacelle_operator.deployment.candidate import Candidate
from nacelle_operator.deployment.checks import RENDER, WANTED
from nacelle_operator.deployment.finding import Finding, first_finding
from nacelle_operator.deployment.pod_checks import pod_finding

ENGINE = f"eng-{OLD[:16]}"
FINE = Candidate(
    resource=deployment(),
    build=build(),
    target=build().status.targets[0],
    engine_name=ENGINE,
    engine=engine(),
    runtime_images=IMAGES,
    triton_images=TRITONS,
)


def going() -> Any:
    raw = engine().model_dump(mode="json", by_alias=True)
    raw["metadata"]["deletionTimestamp"] = "2026-11-24T00:00:00Z"
    return type(engine()).parse(raw)


def waiting_target(**fields: Any) -> dict[str, Any]:
    made = build(None, **fields)
    return {"build": made, "target": made.status.targets[0], "engine_name": "", "engine": None}


WANTED_CASES = {
    "all is well": ({}, None),
    "no build": (
        {"build": None, "target": None, "engine_name": "", "engine": None},
        Finding(
            reasons.BUILD_NOT_FOUND,
            "EngineBuild smollm2 does not exist in this namespace: "
            "create it, or name another in spec.engine.buildRef",
        ),
    ),
    "no such target": (
        {
            "resource": deployment(engine={"buildRef": {"name": "smollm2", "target": "gpu"}}),
            "target": None,
            "engine_name": "",
            "engine": None,
        },
        Finding(
            reasons.TARGET_NOT_FOUND,
            "EngineBuild smollm2 has no target gpu; its targets are: cpu",
            stalled=True,
        ),
    ),
    "build failed": (
        waiting_target(
            message="model.layers.3 is missing",
            conditions=[condition("Stalled", reason="TensorMissing")],
        ),
        Finding(
            reasons.BUILD_FAILED,
            "EngineBuild smollm2 failed for target cpu: TensorMissing: model.layers.3 is missing",
            stalled=True,
        ),
    ),
    "still building": (
        waiting_target(stage="compile", percent=40),
        Finding(
            reasons.ENGINE_NOT_PUBLISHED,
            "waiting for target cpu of EngineBuild smollm2: compile, 40 %",
        ),
    ),
    "not begun": (
        waiting_target(),
        Finding(reasons.ENGINE_NOT_PUBLISHED, "waiting for target cpu of EngineBuild smollm2"),
    ),
    "no engine": (
        {"engine": None},
        Finding(reasons.ENGINE_NOT_FOUND, f"Engine {ENGINE} does not exist"),
    ),
    "engine is going": (
        {"engine": going()},
        Finding(reasons.ENGINE_NOT_FOUND, f"Engine {ENGINE} is being deleted"),
    ),
    "engine refused": (
        {
            "engine": engine(
                ready=[
                    condition("Ready", "False", "CorruptBundle"),
                    condition("Stalled", "True", "CorruptBundle", "rank0/w does not match"),
                ]
            )
        },
        Finding(
            reasons.ENGINE_REFUSED,
            f"Engine {ENGINE} cannot be served: CorruptBundle: rank0/w does not match",
            stalled=True,
        ),
    ),
    "engine is being checked": (
        {"engine": engine(ready=[condition("Ready", "False", "Verifying", "a Job reads it")])},
        Finding(reasons.ENGINE_NOT_VERIFIED, f"Engine {ENGINE} is not ready: a Job reads it"),
    ),
    "engine is new": (
        {"engine": engine(ready=[])},
        Finding(reasons.ENGINE_NOT_VERIFIED, f"Engine {ENGINE} is not ready"),
    ),
}


@pytest.mark.parametrize("case", WANTED_CASES)
def test_wanted_engine(case: str) -> None:
    changes, expected = WANTED_CASES[case]
    assert first_finding(WANTED, replace(FINE, **changes)) == expected


RENDER_CASES = {
    "all is well": ({}, None),
    "as many as built for": ({"resource": deployment(runtime={"maxBatchSize": 64})}, None),
    "too many requests": (
        {"resource": deployment(runtime={"maxBatchSize": 65})},
        Finding(
            reasons.LIMIT_EXCEEDED,
            f"spec.runtime.maxBatchSize 65 is above the 64 that Engine {ENGINE} was built for: "
            "lower it, or build with a larger limit",
            stalled=True,
        ),
    ),
    "no image": (
        {"engine": engine(abi="old"), "runtime_images": {"b": "x", "a": "y"}},
        Finding(
            reasons.RUNTIME_IMAGE_MISSING,
            f"Engine {ENGINE} needs runtime old and the operator has a, b: "
            "rebuild the engine, or name an image in spec.runtime.image",
            stalled=True,
        ),
    ),
    "a Triton server": ({"resource": deployment(frontends={"triton": {"enabled": True}})}, None),
    "no image of Triton": (
        {
            "resource": deployment(frontends={"triton": {"enabled": True}}),
            "triton_images": {"b": "x", "a": "y"},
        },
        Finding(
            reasons.TRITON_IMAGE_MISSING,
            f"Engine {ENGINE} needs a Triton image for {ABI} and the operator has a, b: "
            "name one in spec.frontends.triton.image, or in the chart's value tritons",
            stalled=True,
        ),
    ),
    "an image of Triton of its own": (
        {
            "resource": deployment(frontends={"triton": {"enabled": True, "image": "mine:1"}}),
            "triton_images": {},
        },
        None,
    ),
    "no Triton server, no image of it": ({"triton_images": {}}, None),
    "an image of its own": (
        {"engine": engine(abi="old"), "resource": deployment(runtime={"image": "mine:1"})},
        None,
    ),
}


@pytest.mark.parametrize("case", RENDER_CASES)
def test_rendering(case: str) -> None:
    changes, expected = RENDER_CASES[case]
    assert first_finding(RENDER, replace(FINE, **changes)) == expected


SMALL = "eng-" + "3" * 16
DRAFTED = deployment(
    runtime={"speculative": {"method": "DraftEngine", "draftEngineRef": {"name": SMALL}}}
)
DRAFTS = f"spec.runtime.speculative.draftEngineRef: Engine {SMALL}"


def small(ready: Any = None, **spec: Any) -> Any:
    return engine("3" * 64, ready, **spec)


def unfit(message: str) -> Finding:
    return Finding(reasons.DRAFT_ENGINE_UNFIT, f"{DRAFTS} {message}", stalled=True)


DRAFT_CASES = {
    "all is well": ({"draft": small()}, None),
    "drafts from the text": (
        {"resource": deployment(runtime={"speculative": {"method": "PromptLookup"}})},
        None,
    ),
    "none of that name": ({}, Finding(reasons.ENGINE_NOT_FOUND, f"{DRAFTS} does not exist")),
    "going": (
        {"draft": going()},
        Finding(reasons.ENGINE_NOT_FOUND, f"{DRAFTS} is being deleted"),
    ),
    "damaged": (
        {"draft": small([condition("Stalled", "True", "CorruptBundle", "w does not match")])},
        Finding(
            reasons.ENGINE_REFUSED,
            f"{DRAFTS} cannot be served: CorruptBundle: w does not match",
            stalled=True,
        ),
    ),
    "being checked": (
        {"draft": small([condition("Ready", "False", "Verifying", "a Job reads it")])},
        Finding(reasons.ENGINE_NOT_VERIFIED, f"{DRAFTS} is not ready: a Job reads it"),
    ),
    "in another claim": (
        {"draft": small(store={"persistentVolumeClaim": {"claimName": "other"}})},
        unfit(f"lies in claim other and Engine {ENGINE} in engines: build or import it there"),
    ),
    "of another architecture": (
        {"draft": small(architecture="sm_90")},
        unfit(
            f"is for sm_90 and Engine {ENGINE} for x86-64-v3: build it for the same architecture"
        ),
    ),
    "of another runtime": (
        {"draft": small(abi="old")},
        unfit(f"needs runtime old and Engine {ENGINE} {ABI}: rebuild it with the same builder"),
    ),
    "of another product": (
        {
            "engine": engine(architecture="sm_90"),
            "draft": small(architecture="sm_90", gpuProduct="NVIDIA-H200"),
        },
        unfit(
            f"is for NVIDIA-H200 and Engine {ENGINE} for any GPU of its architecture: build it for "
            "the same GPU"
        ),
    ),
}


@pytest.mark.parametrize("case", DRAFT_CASES)
def test_an_engine_that_drafts(case: str) -> None:
    changes, expected = DRAFT_CASES[case]
    assert first_finding(RENDER, replace(FINE, **{"resource": DRAFTED, **changes})) == expected


def ended(
    code: int,
    message: str = "",
    restarts: int = 1,
    reason: str = "Error",
    container: str = "runtime",
) -> Any:
    end = {"exitCode": code, "message": message, "reason": reason}
    state = {"waiting": {"reason": "CrashLoopBackOff"}}
    failed = {"state": state, "lastState": {"terminated": end}, "restartCount": restarts}
    return beside(container, failed)


def beside(container: str, status: Any) -> Any:
    """A pod with a container of that status, and others that do well."""
    well = {"ready": True, "restartCount": 0, "state": {"running": {}}}
    done = {"exitCode": 0, "reason": "Completed"}
    statuses = {
        "triton-models": {"ready": True, "restartCount": 0, "state": {"terminated": done}},
        "runtime": well,
        "triton": well,
        container: status,
    }
    named = {name: {"name": name, **one} for name, one in statuses.items()}
    return pod(
        initContainerStatuses=[named["triton-models"]],
        containerStatuses=[named["runtime"], named["triton"]],
    )


def failure(code: str, message: str) -> str:
    return Result(failure=Failure(code=code, message=message)).message()


def cannot_start(reason: str, message: str = "", container: str = "runtime") -> Any:
    return beside(container, {"state": {"waiting": {"reason": reason, "message": message}}})


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available",
}
POD_CASES = {
    "starting": (pod(), None),
    "one crash": (ended(1), None),
    "another machine's bundle": (
        ended(TargetMismatch.exit_code, failure("TargetMismatch", "this CPU lacks avx512f")),
        Finding(
            reasons.BUNDLE_REFUSED,
            "pod chat-a-1 on node n1: TargetMismatch: this CPU lacks avx512f",
            stalled=True,
        ),
    ),
    "damaged bundle, message lost": (
        ended(CorruptBundle.exit_code),
        Finding(
            reasons.BUNDLE_REFUSED, "pod chat-a-1 on node n1: exit code 79 (Error)", stalled=True
        ),
    ),
    "killed for memory": (
        ended(137, reason="OOMKilled"),
        Finding(
            reasons.OUT_OF_MEMORY,
            "pod chat-a-1 on node n1: exit code 137 (OOMKilled): raise "
            "spec.pod.resources.limits.memory, or build with smaller limits",
            stalled=True,
        ),
    ),
    "no memory for the cache": (
        ended(71, failure("OutOfMemory", "no block fits")),
        Finding(
            reasons.OUT_OF_MEMORY,
            "pod chat-a-1 on node n1: OutOfMemory: no block fits: raise "
            "spec.pod.resources.limits.memory, or build with smaller limits",
            stalled=True,
        ),
    ),
    "crashes again and again": (
        ended(65, failure("InvalidRequest", "--api-keys-file is empty"), restarts=3),
        Finding(
            reasons.CRASH_LOOPING,
            "pod chat-a-1 on node n1: ended 3 times, the last time with "
            "InvalidRequest: --api-keys-file is empty",
            stalled=True,
        ),
    ),
    "Triton crashes once": (ended(1, container="triton"), None),
    "Triton crashes again and again": (
        ended(1, restarts=2, container="triton"),
        Finding(
            reasons.CRASH_LOOPING,
            "container triton of pod chat-a-1 on node n1: ended 2 times, the last time with exit "
            "code 1 (Error): `kubectl logs chat-a-1 -c triton --previous` tells why",
            stalled=True,
        ),
    ),
    "Triton killed for memory": (
        ended(137, reason="OOMKilled", container="triton"),
        Finding(
            reasons.OUT_OF_MEMORY,
            "container triton of pod chat-a-1 on node n1: exit code 137 (OOMKilled): raise "
            "spec.frontends.triton.resources.limits.memory",
            stalled=True,
        ),
    ),
    "no image of Triton": (
        cannot_start("ImagePullBackOff", "not found", container="triton"),
        Finding(reasons.IMAGE_NOT_PULLED, "container triton of pod chat-a-1: not found"),
    ),
    "no models for Triton": (
        ended(
            CorruptBundle.exit_code,
            failure("CorruptBundle", "manifest.json is missing"),
            container="triton-models",
        ),
        Finding(
            reasons.BUNDLE_REFUSED,
            "container triton-models of pod chat-a-1 on node n1: CorruptBundle: manifest.json is "
            "missing",
            stalled=True,
        ),
    ),
    "no image": (
        cannot_start("ImagePullBackOff", "not found"),
        Finding(reasons.IMAGE_NOT_PULLED, "pod chat-a-1: not found"),
    ),
    "no secret": (
        cannot_start("CreateContainerConfigError", 'secret "keys" not found'),
        Finding(reasons.CONTAINER_NOT_CREATED, 'pod chat-a-1: secret "keys" not found'),
    ),
    "no node": (
        pod(conditions=[UNSCHEDULABLE]),
        Finding(reasons.NO_MATCHING_NODE, "pod chat-a-1 waits: 0/1 nodes are available"),
    ),
}


@pytest.mark.parametrize("case", POD_CASES)
def test_pods(case: str) -> None:
    seen, expected = POD_CASES[case]
    assert pod_finding([seen]) == expected


def test_a_pod_that_answers_or_goes_tells_nothing() -> None:
    seen = ended(1, restarts=9)
    ready = json.loads(json.dumps(seen))
    ready["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    going_pod = json.loads(json.dumps(seen))
    going_pod["metadata"]["deletionTimestamp"] = "2026-11-24T00:00:00Z"
    assert pod_finding([ready, going_pod]) is None
    assert pod_finding([ready, going_pod, seen]) is not None


def test_reasons_are_distinct_and_documented() -> None:
    named = {name: value for name, value in vars(reasons).items() if name.isupper()}
    assert len(set(named.values())) == len(named)
    assert all(name.replace("_", "").lower() == value.lower() for name, value in named.items())
