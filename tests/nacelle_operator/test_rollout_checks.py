"""Checks on the new pods' metrics: what fails a step, what passes it, what keeps it waiting."""

from typing import Any

import pytest
from rollout_cases import CANARY, NEW, OLD, behind, failed, sizes, told, until, until_told, world
from rollout_world import DEADLINE, RolloutWorld

from nacelle_operator.deployment import reasons
from nacelle_operator.objects.tally import Tally

BOUNDS = {"maxErrorPercent": 5, "maxTimeToFirstTokenMilliseconds": 400}
BEFORE = Tally(1000, 500, 1000, 900_000)


def measured(**strategy: Any) -> RolloutWorld:
    """A canary at its first step, with counts from before; its checks want 20 requests."""
    made = world({**CANARY, **strategy, "checks": BOUNDS})
    made.tally = BEFORE
    until(made, lambda: "step 1 of 2" in told(made)[2])
    return made


CHECK_CASES = [
    (
        Tally(100, 6, 100, 0),
        "6 of 100 requests of this step were refused: more than "
        "spec.rollout.checks.maxErrorPercent, 5",
    ),
    (
        Tally(100, 5, 50, 20_050),
        "first tokens took 401 ms on average over 50 requests of this step: more than "
        "spec.rollout.checks.maxTimeToFirstTokenMilliseconds, 400",
    ),
]


@pytest.mark.parametrize(("counted", "why"), CHECK_CASES)
def test_a_step_that_measures_badly_fails(counted: Tally, why: str) -> None:
    made = measured()
    made.tally = BEFORE + counted
    made.round()
    assert told(made) == failed(reasons.CHECKS_FAILED, why)
    until(made, lambda: behind(made) == {OLD: 4} and sizes(made) == {"chat-a": 4})


@pytest.mark.parametrize(
    "counted",
    [Tally(100, 5, 100, 40_000), Tally(19, 19, 19, 999_999), Tally()],
    ids=["within bounds", "too few to tell", "nothing"],
)
def test_a_step_that_measures_well_is_passed(counted: Tally) -> None:
    made = measured()
    made.tally = BEFORE + counted
    until(made, lambda: "step 2 of 2" in told(made)[2])


def test_no_step_begins_or_ends_unmeasured() -> None:
    unknown = (
        "revision 2 waits for spec.rollout.checks: the operator cannot read /metrics of its pods; "
        "let its pod reach theirs, or take spec.rollout.checks away"
    )
    made = world({**CANARY, "checks": BOUNDS})
    until_told(made, reasons.METRICS_UNKNOWN)
    assert told(made)[2] == unknown
    assert made.round().requeue_seconds == 10.0
    made.tally = BEFORE
    until(made, lambda: "step 1 of 2" in told(made)[2])
    made.tally = None
    for _ in range(DEADLINE):
        made.round()
    assert told(made)[2] == unknown
    assert behind(made) == {OLD: 3, NEW: 1}


def test_blue_green_is_measured_after_the_switch() -> None:
    green = {"strategy": "BlueGreen", "blueGreen": {"scaleDownDelay": "1m"}, "checks": BOUNDS}
    made = world(green)
    made.tally = Tally()
    until(made, lambda: behind(made) == {NEW: 4})
    made.tally = Tally(20, 2, 20, 10)
    made.look()
    assert behind(made) == {OLD: 4}
    assert told(made)[1] == reasons.CHECKS_FAILED
