"""How long the threads of a CPU's kernels stay awake while they wait for each other.

libgomp turns 300,000 times before it sleeps: 7.5 ms on an EPYC with 25 ns a turn. Where a node has
other work, threads use up their turns while the one they wait for has no core: docs/runtime.md says
what 4,000 turns give beside busy neighbours. On a quiet machine both are as fast. Below 1,000 turns
the threads sleep between two kernels of a step, which costs up to half of the speed.
"""

from collections.abc import MutableMapping

TURNS = 4000
_COUNT = "GOMP_SPINCOUNT"
# A user's word on either stands: libgomp derives the count from the policy.
_GIVEN = (_COUNT, "OMP_WAIT_POLICY")


def limit_waiting(environment: MutableMapping[str, str]) -> None:
    """Set it for a process and its children: libgomp reads it once, when torch is imported."""
    if not any(name in environment for name in _GIVEN):
        environment[_COUNT] = str(TURNS)
