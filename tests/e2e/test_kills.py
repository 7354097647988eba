"""kill -9 of the operator and of the builder at any moment: nothing is lost, nothing is halved."""

import random
import time

import pytest
from resources import engine_build

from nacelle_demo.kubectl import condition

pytestmark = pytest.mark.e2e
BUILD_SECONDS = 600.0
OPERATOR = "nacelle-system"
KILL = ("delete", "pod", "--grace-period=0", "--force", "--wait=false")


def kill_pods(place, namespace, selector):
    """End the pods of a selector at once, without a chance to clean up."""
    place.kubectl.run("-n", namespace, *KILL, "-l", selector)


@pytest.mark.parametrize("seed", [1])
def test_a_killed_operator_continues_where_it_was(place, seed):
    """Killed several times while a build runs: one Job, one attempt, one engine."""
    rng = random.Random(seed)
    limits = {"maxBatchSize": 3, "maxInputLen": 96, "maxSeqLen": 192, "maxNumTokens": 64}
    place.apply(engine_build("survivor", "tiny", limits=limits))
    jobs = set()
    for _ in range(4):
        time.sleep(rng.uniform(0.5, 6.0))
        kill_pods(place, OPERATOR, "app.kubernetes.io/name=nacelle")
        jobs |= {job["metadata"]["uid"] for job in _jobs(place, "survivor")}
    build = place.until_ready("enginebuild", "survivor", BUILD_SECONDS)
    jobs |= {job["metadata"]["uid"] for job in _jobs(place, "survivor")}
    (target,) = build["status"]["targets"]
    assert len(jobs) <= 1
    assert target["attempts"] == 1
    assert place.get("engine", target["engineRef"]["name"]) is not None


def test_a_killed_builder_leaves_no_half_bundle_and_its_retry_succeeds(place):
    limits = {"maxBatchSize": 5, "maxInputLen": 100, "maxSeqLen": 200, "maxNumTokens": 64}
    place.apply(engine_build("retried", "tiny", limits=limits))
    place.until(
        "enginebuild",
        "retried",
        "compiling",
        lambda b: any(t.get("stage") == "compile" for t in b.get("status", {}).get("targets", [])),
        BUILD_SECONDS,
    )
    (job,) = _jobs(place, "retried")
    kill_pods(place, place.namespace, f"batch.kubernetes.io/job-name={job['metadata']['name']}")
    build = place.until_ready("enginebuild", "retried", BUILD_SECONDS)
    (target,) = build["status"]["targets"]
    engine = place.get("engine", target["engineRef"]["name"])
    assert condition(engine, "Ready")["status"] == "True"


def _jobs(place, build):
    """The Jobs that the build's status names."""
    found = place.get("enginebuild", build) or {}
    targets = found.get("status", {}).get("targets", [])
    names = {name for target in targets for name in target.get("jobs", [])}
    return [
        j for j in place.kubectl.items("jobs", place.namespace) if j["metadata"]["name"] in names
    ]
