"""Liveness: a core whose steps stand still is told from one that is idle or slow."""

import os
import signal

import pytest

from nacelle_runtime.frontends.watchdog import Watchdog


def watchdog(*seen):
    """A watchdog of 10 s that was told (steps, work, time)."""
    dog = Watchdog(10)
    for steps, work, now in seen:
        dog.saw(steps, work=work, now=now)
    return dog


@pytest.mark.parametrize(
    ("seen", "now", "stuck"),
    [
        ([], 1000, False),  # the core is still loading
        ([(0, False, 0)], 10, False),
        ([(0, False, 0)], 11, True),  # it does not answer any more
        ([(0, False, 0), (0, False, 9)], 18, False),  # idle
        ([(5, True, 0), (5, True, 9)], 11, True),  # it answers, but no step ends
        ([(5, True, 0), (6, True, 9)], 18, False),  # slow
        ([(5, True, 0), (5, False, 9)], 18, False),  # the work was taken back
        ([(5, True, 0), (5, True, 12), (6, True, 13)], 20, False),  # it goes on again
    ],
)
def test_stuck_is_work_without_a_step_for_the_deadline(seen, now, stuck):
    assert watchdog(*seen).stuck(now) is stuck


LONG = {"model": "tiny", "prompt": "x", "max_tokens": 1}


@pytest.mark.slow
def test_liveness_fails_while_no_step_ends_and_comes_back(serve):
    server = serve("--step-deadline-seconds", "0.4")
    # A core that gets no CPU for so short a time is as good as stuck.
    server.until(lambda: server.http.get("/health/live").status_code == 200)
    os.kill(server.children()["core"], signal.SIGSTOP)
    server.until(lambda: server.http.get("/health/live").status_code == 503)
    error = server.http.get("/health/live").json()["error"]
    assert error["code"] == "core_stuck"
    assert "no step of the core has ended for 0.4 s" in error["message"]
    os.kill(server.children()["core"], signal.SIGCONT)
    server.until(lambda: server.http.get("/health/live").status_code == 200)


@pytest.mark.slow
def test_a_step_longer_than_the_deadline_fails_liveness(serve):
    server = serve("--step-deadline-seconds", "0.4", step_seconds=1.0)
    with server.http.stream(
        "POST", "/v1/completions", json=LONG | {"max_tokens": 3, "stream": True}
    ):
        server.until(lambda: server.http.get("/health/live").status_code == 503)
    server.until(lambda: server.http.get("/health/live").status_code == 200)
