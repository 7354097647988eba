"""What a Job has come to where its own last event comes before its pod's, or long after."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nacelle_operator.build.outcome import RESULT_GRACE, Ending, Failed, Lost, read_outcome

ENDED = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
LATE = ENDED + RESULT_GRACE + timedelta(seconds=5)
EXIT_65 = (
    "Container builder for pod t/b-1 failed with exit code 65 matching FailJob rule at index 1"
)


def job(condition: str) -> dict[str, Any]:
    told = {
        "type": condition,
        "status": "True",
        "message": EXIT_65,
        "lastTransitionTime": ENDED.isoformat().replace("+00:00", "Z"),
    }
    return {"metadata": {"name": "b"}, "spec": {}, "status": {"conditions": [told]}}


def pod(phase: str, **meta: str) -> dict[str, Any]:
    made = {"name": "b-1", "uid": "u", "creationTimestamp": "2026-01-01T11:00:00Z"}
    return {"metadata": {**made, **meta}, "spec": {"nodeName": "n"}, "status": {"phase": phase}}


@pytest.mark.parametrize("phase", ["Pending", "Running"])
@pytest.mark.parametrize("condition", ["Complete", "Failed"])
def test_a_pod_that_is_not_known_to_have_ended_is_awaited(condition: str, phase: str) -> None:
    for now in (ENDED, LATE, ENDED + timedelta(hours=1)):
        assert isinstance(read_outcome(job(condition), [pod(phase)], now), Ending)


@pytest.mark.parametrize(
    "pods",
    [[], [pod("Succeeded")], [pod("Running", deletionTimestamp="2026-01-01T12:00:00Z")]],
    ids=["none", "ended without a word", "is to go"],
)
def test_of_others_a_last_word_is_awaited_for_a_while(pods: list[dict[str, Any]]) -> None:
    for condition in ("Complete", "Failed"):
        assert isinstance(read_outcome(job(condition), pods, ENDED), Ending)
    assert read_outcome(job("Complete"), pods, LATE) == Lost()
    failed = read_outcome(job("Failed"), pods, LATE)
    assert isinstance(failed, Failed)
    assert failed.failure.message == f"the Job has failed: {EXIT_65}"
