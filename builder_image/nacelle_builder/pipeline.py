"""Runs an ordered list of stages: progress, time, memory and resuming live here and in no stage.

A finished stage leaves <work>/<stage>.done.json with the digest of its inputs: the request, its
settings and the facts before it. The first stage whose inputs changed runs again, and with it all
that follow.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from nacelle_builder.build import Build, Facts
from nacelle_builder.durable import write_durably
from nacelle_builder.report import Report
from nacelle_engine.canonical import digest
from nacelle_engine.frozen import Frozen
from nacelle_engine.progress import Progress

Tell = Callable[[Progress], None]
ENGINE_KEY: Final = "engine_key"
_MESSAGE_LENGTH = 256
_QUIET_SECONDS = 1.0


@dataclass(frozen=True)
class Stage:
    """One step of a build.

    share     its part of a typical build's time, in percent of the whole list
    folders   what it makes in the work folder; removed before it runs
    settings  what else of the request its result depends on
    resumes   False for a stage that looks again at something outside the work folder
    portable  True for a stage whose result is the same on every machine: the engine's key, which
              counts a GPU's multiprocessors, is no input of it
    """

    name: str
    share: int
    run: Callable[[Build, Facts, Report], Facts]
    folders: tuple[str, ...] = ()
    settings: Callable[[Build], Any] = lambda build: None
    resumes: bool = True
    portable: bool = False


class Marker(Frozen):
    """What a finished stage leaves behind."""

    inputs: str
    facts: Facts


class Pipeline:
    """A list of stages on their way; `stage` names the one at work."""

    def __init__(
        self,
        stages: Sequence[Stage],
        tell: Tell,
        clock: Callable[[], float] = time.monotonic,
        peak_mib: Callable[[], int] = lambda: 0,
    ) -> None:
        self.stage = ""
        self._stages = stages
        self._tell = tell
        self._clock = clock
        self._peak_mib = peak_mib
        self._whole = sum(stage.share for stage in stages)

    def run(self, build: Build, basis: str) -> Facts:
        """Run what is not done yet, until an engine is published or the build's last stage is done;
        `basis`: the request's digest."""
        build.work.mkdir(parents=True, exist_ok=True)
        facts, before, anew = Facts(), 0, False
        for stage in self._stages:
            self.stage = stage.name
            seen = facts.plain(ENGINE_KEY) if stage.portable else facts.plain()
            inputs = digest([basis, stage.name, stage.settings(build), seen])
            done = _read_marker(build.work, stage) if stage.resumes else None
            if done is not None and done.inputs == inputs and not anew:
                facts = done.facts.model_copy(update={ENGINE_KEY: facts.engine_key})
                self._say(stage, before + stage.share, "done by an earlier attempt")
            else:
                facts = self._run_one(stage, build, facts, before)
                anew = anew or stage.resumes
                marker = Marker(inputs=inputs, facts=facts)
                if facts.published is None:
                    write_durably(
                        _marker_path(build.work, stage), marker.model_dump_json().encode()
                    )
            if facts.published is not None:
                self._say(stage, self._whole, "published")
                break
            if stage.name == build.until:
                break
            before += stage.share
        return facts

    def _run_one(self, stage: Stage, build: Build, facts: Facts, before: int) -> Facts:
        _marker_path(build.work, stage).unlink(missing_ok=True)
        for name in stage.folders:
            shutil.rmtree(build.work / name, ignore_errors=True)
        started = self._clock()
        last = [-1, started]

        def report(percent: int, message: str) -> None:
            whole = before + stage.share * min(max(percent, 0), 100) // 100
            now = self._clock()
            if whole != last[0] or now - last[1] >= _QUIET_SECONDS:
                last[:] = [whole, now]
                self._say(stage, whole, message)

        report(0, "started")
        facts = stage.run(build, facts, report)
        seconds = round(self._clock() - started)
        self._say(stage, before + stage.share, f"took {seconds} s")
        return facts.model_copy(
            update={
                "stage_seconds": {**facts.stage_seconds, stage.name: seconds},
                "peak_mib": max(facts.peak_mib, self._peak_mib()),
            }
        )

    def _say(self, stage: Stage, share: int, message: str) -> None:
        percent = 100 * share // self._whole
        self._tell(Progress(stage=stage.name, percent=percent, message=message[:_MESSAGE_LENGTH]))


def _marker_path(work: Path, stage: Stage) -> Path:
    return work / f"{stage.name}.done.json"


def _read_marker(work: Path, stage: Stage) -> Marker | None:
    try:
        return Marker.model_validate_json(_marker_path(work, stage).read_bytes())
    except (OSError, ValidationError):  # none, or of another release: the stage runs again
        return None
