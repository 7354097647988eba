"""What a process and those that it started hold, looked at."""

import os
import subprocess
import sys
import time

import pytest

from nacelle_builder.memory_watch import MemoryWatch, held_bytes

HELD = 120 * 2**20
HOLD = f"held = bytes([1]) * {HELD}; print(flush=True); input()"
GRANDCHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}], check=True)"


def holding(code):
    """A process that holds the bytes until its input ends, itself or by a child."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    return process


def end(process):
    process.communicate(b"\n")
    assert process.returncode == 0


@pytest.mark.parametrize("code", [HOLD, GRANDCHILD], ids=["child", "grandchild"])
def test_what_descendants_hold_counts(code):
    before = held_bytes(os.getpid())
    process = holding(code)
    assert held_bytes(os.getpid()) > before + HELD * 9 // 10
    assert held_bytes(process.pid) < before + HELD + 50 * 2**20
    end(process)
    assert held_bytes(os.getpid()) < before + HELD // 2


def test_the_peak_stays_when_it_is_over():
    with MemoryWatch(every=0.01) as watch:
        before = watch.peak_mib()
        assert before > 5
        process = holding(HOLD)
        # Looked at by the thread alone.
        while watch._peak < before * 2**20 + HELD * 9 // 10:
            time.sleep(0.01)
        end(process)
        assert watch.peak_mib() > before + 100
    assert not watch._thread.is_alive()


def test_a_process_that_is_gone_holds_nothing():
    process = holding(HOLD)
    end(process)
    assert held_bytes(process.pid) == 0
