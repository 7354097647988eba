"""tactics.json of either kind of target, as one list of choices."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nacelle_engine.errors import CorruptBundle
from nacelle_engine.program.signature import TACTICS

# What the numbers in a CPU's tactics stand for.
_CPU_CANDIDATES: Final = ("fused", "aten")


@dataclass(frozen=True)
class Time:
    """A candidate and how long it took, in microseconds."""

    name: str
    microseconds: float


@dataclass(frozen=True)
class Choice:
    """What serves a place for steps of first to last tokens (or rows), and what was timed there.

    last       None: up to the engine's limit
    times      the quickest first; empty where nothing was timed
    """

    place: str
    first: int
    last: int | None
    chosen: str
    times: tuple[Time, ...] = ()

    @property
    def time(self) -> Time | None:
        """The chosen candidate's time."""
        return next((time for time in self.times if time.name == self.chosen), None)

    @property
    def runner_up(self) -> Time | None:
        """The quickest of the others."""
        return next((time for time in self.times if time.name != self.chosen), None)


@dataclass(frozen=True)
class Tactics:
    """Why kernels were chosen, what libraries attention over prompts was offered, each choice."""

    reason: str
    choices: tuple[Choice, ...]
    attention: str = ""


def read_tactics(rank: Path) -> Tactics:
    """The tactics in a rank's folder; CorruptBundle when the file is not one of ours."""
    path = rank / TACTICS
    try:
        data = json.loads(path.read_bytes())
        choices = _gpu_choices(data) if "places" in data else _cpu_choices(data)
        return Tactics(str(data["reason"]), choices, str(data.get("attention", "")))
    except OSError as error:
        raise CorruptBundle(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise CorruptBundle(f"{path} is not a list of tactics: {error!r}") from error


def _gpu_choices(data: dict[str, Any]) -> tuple[Choice, ...]:
    return tuple(
        Choice(
            place=str(one["place"]),
            first=int(one["first"]),
            last=int(one["last"]),
            chosen=str(one["chosen"]),
            times=_times({name: ns / 1000 for name, ns in one["nanoseconds"].items()}),
        )
        for one in data["places"]
    )


def _cpu_choices(data: dict[str, Any]) -> tuple[Choice, ...]:
    """A CPU's {linear: (first T, candidate, ...)}; its timings are of single numbers of tokens."""
    timings = {(one["linear"], one["tokens"]): one["microseconds"] for one in data["timings"]}
    made = []
    for linear, flat in data["chosen"].items():
        starts, candidates = list(flat[::2]), list(flat[1::2])
        # Each number of tokens that was timed is a row; without any, each range chosen is.
        rows = sorted(tokens for name, tokens in timings if name == linear) or starts
        for first, after in zip(rows, [*rows[1:], None], strict=True):
            which = max(n for n, start in enumerate(starts) if start <= first)
            made.append(
                Choice(
                    place=str(linear),
                    first=int(first),
                    last=None if after is None else int(after) - 1,
                    chosen=_CPU_CANDIDATES[candidates[which]],
                    times=_times(timings.get((linear, first), {})),
                )
            )
    return tuple(made)


def _times(microseconds: dict[str, float]) -> tuple[Time, ...]:
    made = (Time(str(name), float(value)) for name, value in microseconds.items())
    return tuple(sorted(made, key=lambda time: time.microseconds))
