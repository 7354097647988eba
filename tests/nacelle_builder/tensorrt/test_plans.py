"""Compiling plans in a process of its own: its lines, its end, and what its log becomes."""

import sys

import pytest

from nacelle_builder.compile.tensorrt import plans
from nacelle_builder.compile.tensorrt.phases import Phases
from nacelle_builder.compile.tensorrt.plan_job import PlanJob
from nacelle_engine.errors import AbiMismatch, CompileFailed

JOB = PlanJob(networks=(), profiles=(), folder="/nowhere", timing_cache="/nowhere/t")


@pytest.fixture
def worker(monkeypatch, tmp_path):
    """A function (code) that makes it the worker's."""

    def make(code):
        (tmp_path / "stand_in.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.setattr(plans, "WORKER", "stand_in")

    return make


def test_its_lines_are_passed_on_each_percentage_once(worker):
    worker(
        "import sys, json\n"
        "job = json.load(sys.stdin)\n"
        "print('a line of a library')\n"
        "for p in (1, 1, 40, 39): print(json.dumps({'percent': p, 'message': job['folder']}))\n"
        "print(json.dumps({'percent': 100, 'message': '', 'done': True,"
        " 'workspaceBytes': {'exit': 7}}))\n"
    )
    told = []
    assert plans.compile_plans(JOB, lambda *one: told.append(one)) == {"exit": 7}
    assert told == [(1, "/nowhere"), (40, "/nowhere")]


def test_a_process_that_ends_itself_is_an_error_by_its_log(worker):
    worker(
        "import os, sys\n"
        "print('Unable to load library: libnvinfer_builder_resource.so.10.6.0', file=sys.stderr,"
        " flush=True)\n"
        "os.abort()\n"
    )
    with pytest.raises(AbiMismatch, match=r"library libnvinfer_builder_resource\.so\.10\.6\.0"):
        plans.compile_plans(JOB, lambda *_: None)


def test_a_process_that_says_nothing_is_an_error(worker):
    worker("raise SystemExit(0)")
    with pytest.raises(CompileFailed, match="it left no line in its log"):
        plans.compile_plans(JOB, lambda *_: None)


def test_a_process_that_does_not_end_is_ended(worker):
    worker("import time\ntime.sleep(600)")
    with pytest.raises(CompileFailed) as refused:
        plans.compile_plans(JOB, lambda *_: None, timeout=0.5)
    assert str(refused.value) == "compiling plans: TensorRT did not end in 0.5 s"


def test_the_worker_without_tensorrt_says_how_to_install_it(monkeypatch, tmp_path):
    # A module of that name without an end: whatever is installed here.
    (tmp_path / "tensorrt_bindings.py").write_text("raise ModuleNotFoundError('none here')")
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *sys.path]))
    with pytest.raises(CompileFailed, match=r"pip install 'nacelle\[tensorrt\]'"):
        plans.compile_plans(JOB, lambda *_: None)


def test_nested_phases_are_one_fraction_that_never_falls():
    phases = Phases()
    phases.start("whole", None, 4)
    assert phases.fraction() == 0
    phases.step("whole", 0)
    phases.start("tactics", "whole", 10)
    phases.step("tactics", 4)
    assert phases.fraction() == pytest.approx(0.375)
    phases.finish("tactics")
    assert phases.fraction() == pytest.approx(0.375)
    phases.step("whole", 3)
    assert phases.fraction() == 1
    phases.finish("whole")
    phases.start("again", None, 2)
    assert phases.fraction() == 1
