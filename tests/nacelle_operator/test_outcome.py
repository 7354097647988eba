"""What a Job has come to where not all that is known of its pods is their ends."""

from datetime import UTC, datetime
from typing import Any

import pytest

from nacelle_operator.build.outcome import Ending, Failed, Lost, is_told, read_outcome

NOW = datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)
EXIT_65 = (
    "Container builder for pod t/b-1 failed with exit code 65 matching FailJob rule at index 1"
)
DISRUPTED = {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "Drained"}]}


def job(condition: str, **status: int) -> dict[str, Any]:
    told = {
        "type": condition,
        "status": "True",
        "message": EXIT_65,
        "lastTransitionTime": "2026-01-01T12:00:00Z",
    }
    conditions = {"conditions": [told]} if condition else {}
    return {"metadata": {"name": "b"}, "spec": {}, "status": {**conditions, **status}}


def pod(phase: str, status: dict[str, Any] | None = None, **meta: str) -> dict[str, Any]:
    made = {"name": "b-1", "uid": "u", "creationTimestamp": "2026-01-01T11:00:00Z"}
    return {
        "metadata": {**made, **meta},
        "spec": {"nodeName": "n"},
        "status": {"phase": phase, **(status or {})},
    }


@pytest.mark.parametrize("phase", ["Pending", "Running"])
@pytest.mark.parametrize("condition", ["Complete", "Failed"])
def test_a_pod_that_has_not_ended_is_awaited(condition: str, phase: str) -> None:
    assert isinstance(read_outcome(job(condition), [pod(phase)], NOW), Ending)


@pytest.mark.parametrize(
    "pods",
    [[], [pod("Succeeded")], [pod("Running", deletionTimestamp="2026-01-01T12:00:00Z")]],
    ids=["none", "ended without a word", "is to go"],
)
def test_others_leave_the_job_without_a_result(pods: list[dict[str, Any]]) -> None:
    assert read_outcome(job("Complete"), pods, NOW) == Lost()
    failed = read_outcome(job("Failed"), pods, NOW)
    assert isinstance(failed, Failed)
    assert failed.failure.message == f"the Job has failed: {EXIT_65}"


@pytest.mark.parametrize(
    ("ended", "pods", "told"),
    [
        (job(""), [], True),
        (job("", active=1), [pod("Running")], True),
        (job("Complete"), [], False),
        (job("Complete"), [pod("Running")], False),
        (job("Complete"), [pod("Failed")], False),
        (job("Complete"), [pod("Failed"), pod("Succeeded")], True),
        (job("Failed"), [], False),
        (job("Failed"), [pod("Running")], False),
        (job("Failed"), [pod("Failed")], True),
        (job("Failed", failed=1), [pod("Failed")], True),
        (job("Failed", failed=1), [pod("Failed", DISRUPTED)], False),
        (job("Failed", failed=2), [pod("Failed"), pod("Failed", DISRUPTED)], False),
        (job("Failed", failed=2), [pod("Failed"), pod("Failed")], True),
    ],
)
def test_a_finished_job_is_told_by_the_pods_that_count(
    ended: dict[str, Any], pods: list[dict[str, Any]], told: bool
) -> None:
    assert is_told(ended, pods) is told
    ended["metadata"]["deletionTimestamp"] = "2026-01-01T12:00:01Z"
    assert is_told(ended, pods)
