"""The runner of stages: progress, resuming, and what makes a stage run again."""

import pytest

from nacelle_builder.build import Build, Facts
from nacelle_builder.pipeline import Pipeline, Stage
from nacelle_builder.settings import HubAccess
from nacelle_engine.recipe import Recipe
from nacelle_engine.request import BuildRequest, FolderSource
from nacelle_engine.result import Published

PUBLISHED = Published(engine_key="a" * 64, path="p", digest="b" * 64, bytes=1, abi="x")


class Killed(Exception):
    """The end of an attempt."""


@pytest.fixture
def build(tmp_path):
    request = BuildRequest(
        model_name="m",
        folder=FolderSource(path="/m"),
        recipe=Recipe(architecture="x86-64-v3"),
        store=str(tmp_path),
    )
    return Build(request=request, work=tmp_path / "work" / "k", access=HubAccess())


class Steps:
    """Three stages that note their runs; `die_in` is killed half-way, its folder half filled."""

    def __init__(self, die_in="", digest="d"):
        self.ran = []
        self.die_in = die_in
        self.digest = digest
        self.said = []

    def stages(self, setting=0):
        return (
            Stage("look", 10, self.step("look", model_digest=self.digest), resumes=False),
            Stage("make", 70, self.step("make"), folders=("made",), settings=lambda b: setting),
            Stage("check", 10, self.step("check")),
            Stage("publish", 10, self.step("publish", published=PUBLISHED), resumes=False),
        )

    def step(self, name, **update):
        def run(build, facts, report):
            self.ran.append(name)
            if name == "make":
                (build.work / "made").mkdir()
                (build.work / "made" / "half").touch()
            report(50, "half")
            if name == self.die_in:
                raise Killed
            return facts.model_copy(update=update)

        return run

    def run(self, build, basis="r", setting=0):
        return Pipeline(self.stages(setting), self.said.append).run(build, basis)


def test_progress_only_grows_and_ends_at_100(build):
    steps = Steps()
    facts = steps.run(build)
    percents = [p.percent for p in steps.said]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert [p.stage for p in steps.said if p.message == "started"] == [
        "look",
        "make",
        "check",
        "publish",
    ]
    assert set(facts.stage_seconds) == {"look", "make", "check", "publish"}


def test_the_most_memory_so_far_is_kept_over_attempts(build):
    held = iter((300, 900, 500))
    steps = Steps(die_in="check")
    with pytest.raises(Killed):
        Pipeline(steps.stages(), steps.said.append, peak_mib=lambda: next(held)).run(build, "r")
    steps = Steps()
    facts = Pipeline(steps.stages(), steps.said.append, peak_mib=lambda: 400).run(build, "r")
    assert facts.peak_mib == 900
    assert "peak_mib" not in facts.plain()


def test_a_killed_build_goes_on_after_the_last_finished_stage(build):
    with pytest.raises(Killed):
        Steps(die_in="check").run(build)
    again = Steps()
    assert again.run(build).published == PUBLISHED
    assert again.ran == ["look", "check", "publish"]


def test_a_stage_killed_half_way_starts_with_a_clean_folder(build):
    with pytest.raises(Killed):
        Steps(die_in="make").run(build)
    again = Steps()
    again.run(build)  # mkdir would fail if the half folder were still there
    assert again.ran == ["look", "make", "check", "publish"]


@pytest.mark.parametrize(
    ("change", "ran"),
    [
        ({"steps": Steps(digest="other")}, ["look", "make", "check", "publish"]),
        ({"basis": "other"}, ["look", "make", "check", "publish"]),
        ({"setting": 1}, ["look", "make", "check", "publish"]),
        ({}, ["look", "publish"]),
    ],
)
def test_what_changed_runs_again(build, change, ran):
    with pytest.raises(Killed):
        Steps(die_in="publish").run(build)
    steps = change.pop("steps", None) or Steps()
    steps.ran.clear()
    steps.run(build, **change)
    assert steps.ran == ran


def test_a_torn_marker_counts_as_none(build):
    with pytest.raises(Killed):
        Steps(die_in="check").run(build)
    (build.work / "make.done.json").write_text('{"inputs": "')
    again = Steps()
    again.run(build)
    assert again.ran == ["look", "make", "check", "publish"]


def test_an_engine_that_exists_ends_it_at_once(build):
    steps = Steps()
    exists = Stage("look", 10, steps.step("look", published=PUBLISHED), resumes=False)
    facts = Pipeline((exists, *steps.stages()[1:]), steps.said.append).run(build, "r")
    assert steps.ran == ["look"]
    assert facts.published == PUBLISHED
    assert isinstance(facts, Facts)
