"""`nacelle status`: facts of resources, their lines, their drawing, and the exact text of each."""

import io
import json
import re

import pytest
from rich.console import Console
from status_cases import (
    build,
    building,
    conditions,
    deployment,
    failed,
    published,
    serving,
    target_status,
)

from nacelle_cli.status.advice import ADVICE
from nacelle_cli.status.facts import Snapshot, snapshot
from nacelle_cli.status.lines import changed, lines
from nacelle_cli.status.show import as_json, shown
from nacelle_engine import errors
from nacelle_operator.build import reasons


def test_a_build_at_work() -> None:
    assert lines(snapshot("ns", [building()], [])) == (
        "EngineBuild b: under way: Building: 0 of 1 engines are published",
        "  b/cpu (x86-64-v3): 35 % convert: layer 3 of 30",
    )


def test_a_failed_target_says_what_to_do() -> None:
    assert lines(snapshot("ns", [failed()], [])) == (
        "EngineBuild b: failed: TargetsFailed: cpu: TensorMissing: model.norm.weight is absent",
        "  b/cpu (x86-64-v3): 35 % failed in convert: TensorMissing: model.norm.weight is absent",
        "  b/cpu (x86-64-v3): to do: put a whole Hugging Face checkpoint where spec.model points, "
        "then change any field of the spec, such as job.backoffLimit: it is tried again",
    )


def test_what_is_done_and_served() -> None:
    assert lines(snapshot("ns", [published()], [serving()])) == (
        "EngineBuild b: ready: AllTargetsPublished: 1 of 1 engines are published",
        "  b/cpu (x86-64-v3): 100 % eng-1 is published",
        "InferenceDeployment chat: ready: Serving: all 2 replicas serve Engine eng-1",
        "  chat: engine eng-1, 2 of 2 replicas answer, revision 3, http://chat.ns.svc:8000/v1",
    )


def test_a_target_that_waits_for_a_node_names_the_reason() -> None:
    waits = conditions(
        Ready="False NoMatchingNode: no node takes it yet",
        Reconciling="True NoMatchingNode: no node takes it yet",
    )
    raw = build(conditions=waits, targets=[target_status(conditions=waits)])
    assert lines(snapshot("ns", [raw], []))[1:] == (
        "  b/cpu (x86-64-v3): 0 % NoMatchingNode: no node takes it yet",
    )


def test_a_suspended_build_is_held_and_at_rest() -> None:
    held = conditions(Ready="False Suspended: suspend is true")
    found = snapshot("ns", [build(conditions=held)], [])
    assert lines(found)[0] == "EngineBuild b: held: Suspended: suspend is true"
    assert found.is_at_rest and not found.has_failed


@pytest.mark.parametrize("status", [{}, {"observedGeneration": -1}])
def test_a_spec_that_the_operator_has_not_seen(status: dict[str, int]) -> None:
    found = snapshot("ns", [build(**status)], [])
    said = (
        "NotSeenYet: the operator has not seen generation 1 yet: does it run, and look after "
        "this namespace?"
    )
    assert lines(found) == (
        f"EngineBuild b: not seen yet: {said}",
        f"  b/cpu (x86-64-v3): 0 % {said}",
    )
    assert not found.is_at_rest


def test_an_edit_makes_what_was_said_old() -> None:
    raw = published()
    raw["metadata"]["generation"] = 2
    assert snapshot("ns", [raw], []).states[0].phase == "Unseen"


def test_a_deployment_on_its_way_to_another_engine() -> None:
    moving = conditions(
        Ready="False RollingOut: 1 of 2 replicas run Engine eng-2",
        Available="True ReplicasReady: 2 of 2 replicas answer",
        Reconciling="True RollingOut: 1 of 2 replicas run Engine eng-2",
    )
    raw = deployment(
        conditions=moving, currentEngine="eng-1", targetEngine="eng-2", readyReplicas=2
    )
    assert lines(snapshot("ns", [], [raw])) == (
        "InferenceDeployment chat: under way: RollingOut: 1 of 2 replicas run Engine eng-2",
        "  chat: engine eng-1 (eng-2 is wanted), 2 of 2 replicas answer",
    )
    nothing_yet = deployment(conditions=moving)
    assert lines(snapshot("ns", [], [nothing_yet]))[1] == (
        "  chat: no engine, 0 of 2 replicas answer"
    )


def test_of_a_change_only_the_lines_that_changed() -> None:
    before = snapshot("ns", [building(35)], [serving()])
    after = snapshot("ns", [building(36, "layer 4 of 30")], [])
    assert changed(None, before) == lines(before)
    assert changed(before, before) == ()
    assert changed(before, after) == (
        "InferenceDeployment chat is gone",
        "  b/cpu (x86-64-v3): 36 % convert: layer 4 of 30",
    )


def test_an_empty_namespace_is_said() -> None:
    said = "no EngineBuild and no InferenceDeployment in namespace ns"
    assert lines(Snapshot(namespace="ns")) == (said,)
    assert Snapshot(namespace="ns").is_at_rest


def drawn(found: Snapshot, *, terminal: bool = True) -> list[str]:
    text = io.StringIO()
    console = Console(
        file=text, width=100, force_terminal=terminal, color_system=None, legacy_windows=False
    )
    with shown(console) as show:
        show(found)
    plain = re.sub(r"(\x1b\[[0-9;?]*[A-Za-z]|\r)+", "\n", text.getvalue())
    found_lines = [line.rstrip() for line in plain.splitlines() if line]
    # A terminal gets the frame again when it ends.
    return found_lines[len(found_lines) // 2 :] if terminal else found_lines


def test_a_terminal_gets_bars() -> None:
    assert drawn(snapshot("ns", [building()], [serving()])) == [
        "EngineBuild b under way Building: 0 of 1 engines are published",
        "  cpu x86-64-v3 " + "━" * 10 + "╸" + " " * 19 + " 35 % convert: layer 3 of 30",
        "InferenceDeployment chat ready Serving: all 2 replicas serve Engine eng-1",
        "  engine eng-1, 2 of 2 replicas answer, revision 3, http://chat.ns.svc:8000/v1",
    ]


def test_a_failure_is_told_in_full_below_the_bar() -> None:
    assert drawn(snapshot("ns", [failed()], []))[1:] == [
        "  cpu x86-64-v3 " + "━" * 10 + "╸" + " " * 19 + " 35 % TensorMissing",
        "  cpu: failed in convert: TensorMissing: model.norm.weight is absent",
        "  cpu: to do: put a whole Hugging Face checkpoint where spec.model points, then change "
        "any field of",
        "  the spec, such as job.backoffLimit: it is tried again",
    ]


def test_brackets_in_a_message_are_text() -> None:
    assert (
        "convert: [bold]layer[/bold]"
        in drawn(snapshot("ns", [building(1, "[bold]layer[/bold]")], []))[1]
    )


def test_elsewhere_the_lines() -> None:
    found = snapshot("ns", [building()], [])
    assert drawn(found, terminal=False) == list(lines(found))


def test_json_is_printed_when_something_changed() -> None:
    text = io.StringIO()
    first, second = snapshot("ns", [building()], []), snapshot("ns", [published()], [serving()])
    with as_json(Console(file=text), one_line=True) as show:
        for found in (first, first, second):
            show(found)
    documents = [json.loads(line) for line in text.getvalue().splitlines()]
    assert len(documents) == 2
    assert documents[0]["builds"][0]["targets"][0] == {
        "name": "cpu",
        "architecture": "x86-64-v3",
        "state": {"phase": "UnderWay", "reason": "BuildRunning", "message": "layer 3 of 30"},
        "stage": "convert",
        "percent": 35,
        "message": "layer 3 of 30",
        "engine": "",
    }
    assert documents[1]["deployments"][0]["url"] == "http://chat.ns.svc:8000/v1"


def leaves(error: type[errors.NacelleError]) -> set[str]:
    below = [each for each in error.__subclasses__() if each.__module__ == errors.__name__]
    return {error.__name__} if not below else set().union(*map(leaves, below))


def test_every_error_that_ends_a_build_has_its_advice() -> None:
    of_operator = {
        reasons.ATTEMPT_TIMEOUT,
        reasons.SCHEDULING_TIMEOUT,
        reasons.OUT_OF_MEMORY,
        reasons.RESULT_LOST,
        reasons.BUILD_CRASHED,
        reasons.ACCURACY_FAILED,
    }
    of_builder = leaves(errors.NacelleError) | {"InvalidModel", "InternalError"}
    assert set(ADVICE) == of_builder | of_operator
