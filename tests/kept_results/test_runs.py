"""Runs of pytest over a small checkout: what is left out, what is run again, and what is said."""

import os
import re
import subprocess
import sys
from pathlib import Path

import kept_results
import pytest
from small_checkout import append, write_checkout

pytestmark = pytest.mark.slow
SUPPORT = Path(kept_results.__file__).parent
TWO = ("-p", "xdist", "-n", "2")
ALL_KEPT = (
    "3 tests of 2 files passed here before and were not run again, for nothing that they depend on "
    "has changed (to run all: make FRESH=1, or pytest with --fresh)"
)
BOLT, NUT = "tests/nacelle_bolt/test_bolt.py", "tests/nacelle_nut/test_nut.py"


class Runs:
    """Runs over one checkout, with a cache of their own."""

    def __init__(self, folder):
        self.root = write_checkout(folder / "checkout")
        paths = (SUPPORT, self.root / "tests" / "support", self.root / "parts")
        outer = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "KUBECONFIG"))}
        self.environment = outer | {
            "NACELLE_CACHE": str(folder / "cache"),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            # A file that is edited within a second and keeps its size would be taken for the old.
            "PYTHONDONTWRITEBYTECODE": "1",
            # Those of other packages take most of a start.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }

    def __call__(self, *options, places=("tests",), **environment):
        """The exit code and all that was said."""
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "--import-mode=importlib", *options, *places],
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    def counts(self, *options, **more):
        """The exit code and the closing line without its time."""
        code, said = self(*options, **more)
        return code, re.sub(r" in [\d.]+s.*", "", said.splitlines()[-1])


@pytest.fixture
def run(tmp_path):
    return Runs(tmp_path)


@pytest.mark.parametrize("processes", [(), TWO], ids=["one", "two"])
def test_what_passed_is_not_run_again_until_something_changes(run, processes):
    reuse = ("--reuse", *processes)
    assert run.counts(*reuse) == (0, "3 passed")
    code, said = run(*reuse)
    assert (code, ALL_KEPT in said.splitlines()) == (0, True)
    assert said.splitlines()[-1].startswith("3 deselected")
    assert run.counts(*processes) == (0, "3 passed")
    append(run.root / "parts/nacelle_bolt/thread.py", "# changed\n")
    assert run.counts(*reuse) == (0, "2 passed, 1 deselected")
    append(run.root / NUT, "\ndef test_new():\n    assert True\n")
    assert run.counts(*reuse) == (0, "2 passed, 2 deselected")
    assert run.counts(*reuse) == (0, "4 deselected")


@pytest.mark.parametrize("processes", [(), TWO], ids=["one", "two"])
def test_a_fresh_run_leaves_out_nothing_and_keeps_what_passes(run, processes):
    for _ in range(2):
        assert run.counts("--reuse", "--fresh", *processes) == (0, "3 passed")
    assert run.counts("--reuse", *processes) == (0, "3 deselected")


@pytest.mark.parametrize("processes", [(), TWO], ids=["one", "two"])
def test_what_failed_is_run_until_it_passes(run, processes):
    reuse = ("--reuse", *processes)
    bolt = run.root / "parts/nacelle_bolt/bolt.py"
    bolt.write_text("def length():\n    return 2\n")
    assert run.counts(*reuse) == (1, "1 failed, 2 passed")
    assert run.counts(*reuse) == (1, "1 failed, 1 passed, 1 deselected")
    bolt.write_text("def length():\n    return 1\n")
    assert run.counts(*reuse) == (0, "2 passed, 1 deselected")
    assert run.counts(*reuse) == (0, "3 deselected")


def test_a_failure_that_no_input_explains_takes_back_what_was_kept(run):
    outside = run.root.parent / "outside"
    append(
        run.root / NUT,
        "\ndef test_out():\n    from pathlib import Path\n"
        f"    assert not Path({str(outside)!r}).exists()\n",
    )
    one = f"{NUT}::test_nut"
    assert run.counts("--reuse", places=[one]) == (0, "1 passed")
    outside.touch()
    assert run.counts("--reuse", places=[NUT]) == (1, "1 failed, 1 passed")
    assert run.counts("--reuse", places=[one]) == (0, "1 passed")


def test_an_interrupted_run_keeps_what_had_passed(run):
    append(run.root / NUT, "\ndef test_stops():\n    raise KeyboardInterrupt\n")
    assert run("--reuse", places=[NUT])[0] == 2
    assert run.counts("--reuse", places=[f"{NUT}::test_nut"]) == (0, "1 deselected")
    code, said = run("--reuse", places=[NUT])
    assert (code, "1 passed" in said, "deselected" in said) == (2, True, False)


def test_options_and_variables_are_inputs(run):
    assert run.counts("--reuse") == (0, "3 passed")
    assert run.counts("--reuse", "--maxfail=3") == (0, "3 passed")
    assert run.counts("--reuse", NACELLE_X="1") == (0, "3 passed")
    assert run.counts("--reuse") == (0, "3 deselected")


def test_what_was_selected_in_part_is_kept_in_part(run):
    one = f"{BOLT}::test_length"
    assert run.counts("--reuse", places=[one]) == (0, "1 passed")
    assert run.counts("--reuse", places=[one]) == (0, "1 deselected")
    assert run.counts("--reuse", places=[BOLT]) == (0, "2 passed")


def test_other_tests_left_out_by_pytest_are_no_success(run):
    assert run.counts("--reuse", "-m", "slow") == (0, "1 passed, 2 deselected")
    assert run.counts("--reuse", "-m", "slow") == (0, "3 deselected")
    assert run.counts("--reuse", "-k", "nothing") == (5, "3 deselected")


@pytest.mark.parametrize(
    ("folders", "told"),
    [
        (["nuts"], "charts/nuts/Chart.yaml"),
        (["nuts", "bolts"], "charts/bolts/Chart.yaml and 1 more"),
    ],
)
def test_what_reads_more_than_it_reaches_is_not_kept(run, folders, told):
    append(
        run.root / NUT,
        "\ndef test_reads():\n    place = __file__[:-len('tests/nacelle_nut/test_nut.py')]\n"
        f"    for folder in {folders}:\n"
        "        assert open(place + 'chart' + f's/{folder}/Chart.yaml').read() == ''\n",
    )
    code, said = run("--reuse", places=[NUT])
    expected = (
        f"{NUT}: not kept, for it read {told}, which its key lacks (tests/support/reached_files.py)"
    )
    assert (code, expected in said.splitlines()) == (0, True)
    assert run.counts("--reuse", places=[NUT]) == (0, "2 passed")


def test_what_changes_while_it_is_tested_is_not_kept(run):
    append(
        run.root / NUT,
        "\ndef test_writes():\n    with open(__file__, 'a') as file:\n"
        "        file.write('# more')\n",
    )
    code, said = run("--reuse", places=[NUT])
    expected = f"{NUT}: not kept, for its inputs changed while it ran"
    assert (code, expected in said.splitlines()) == (0, True)
    assert run.counts("--reuse", places=[NUT]) == (0, "2 passed")


def test_nothing_is_kept_of_a_cluster_that_is_given(run):
    for _ in range(2):
        code, said = run("--reuse", KUBECONFIG="/some/config")
        expected = (
            "--reuse: nothing was left out and nothing is kept, for no key holds the state of the "
            "cluster that KUBECONFIG names"
        )
        assert (code, expected in said.splitlines()) == (0, True)
        assert "3 passed" in said
