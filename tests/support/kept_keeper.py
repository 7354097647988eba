"""In the controlling process: knows what passed before, keeps what passes now, and says so."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from kept import kept
from kept_chooser import file_of
from result_keys import ResultKeys
from result_store import ResultStore


@dataclass
class _LeftOut:
    nodeid: str


class Keeper:
    """The results of one run; passed: the tests that need not run again, by file."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        given = map(str, config.invocation_params.args)
        passed_over = {*config.args, "--reuse", "--fresh"}
        self._options = [option for option in given if option not in passed_over]
        self._environment = dict(os.environ)
        self._keys = self._keys_now()
        self._store = ResultStore(kept("results"))
        self._store.delete_unused()
        asked = () if config.getoption("fresh") else self._keys.tests
        found = {test: self._store.passed(self._keys.key(test)) for test in asked}
        self.passed = {test: sorted(passed) for test, passed in found.items() if passed}
        self.left_out: list[str] = []
        self._failed: set[str] = set()
        self._done: dict[str, set[str]] = {}
        self._read: dict[str, set[str]] = {}
        self._not_kept: list[str] = []

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """All workers are told the same."""
        node.workerinput["passed"] = self.passed

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Each worker left out the same; one that broke down tells nothing."""
        if self.left_out or not getattr(node, "workeroutput", None):
            return
        self.left_out += node.workeroutput.get("left_out", [])
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        # Tests that workers deselect are not counted otherwise.
        reporter.stats.setdefault("deselected", []).extend(map(_LeftOut, self.left_out))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of a test that is done the last report is its teardown's."""
        file = file_of(report.nodeid)
        if report.failed:
            self._failed.add(file)
        if report.when == "teardown":
            self._done.setdefault(file, set()).add(report.nodeid)
            self._read.setdefault(file, set()).update(report.files_read)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Keep what passed; a run that left out all that it would have run has passed."""
        self._keep()
        if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and self.left_out:
            session.exitstatus = pytest.ExitCode.OK

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What was left out, and how to run it; what will run again next time, and why."""
        for line in self._not_kept:
            terminalreporter.write_line(line)
        if self.left_out:
            files = len(set(map(file_of, self.left_out)))
            terminalreporter.write_line(
                f"{len(self.left_out)} tests of {files} files passed here before and were not run "
                "again, for nothing that they depend on has changed (to run all: make FRESH=1, or "
                "pytest with --fresh)"
            )

    def _keep(self) -> None:
        for file in self._failed & set(self._keys.tests):
            self._store.forget(self._keys.key(file))
        passed = self._done.keys() - self._failed
        now = self._keys_now() if passed else self._keys
        for file in sorted(passed):
            key = self._keys.key(file)
            unforeseen = self._keys.unforeseen(file, self._read[file])
            if now.key(file) != key:
                self._not_kept.append(f"{file}: not kept, for its inputs changed while it ran")
            elif unforeseen:
                self._not_kept.append(
                    f"{file}: not kept, for it read {_shortly(unforeseen)}, which its key lacks "
                    "(tests/support/reached_files.py)"
                )
            else:
                self._store.keep(key, self._done[file])

    def _keys_now(self) -> ResultKeys:
        return ResultKeys(self._config.rootpath, self._options, self._environment)


def _shortly(files: Sequence[str]) -> str:
    """The first file, and how many more there are."""
    more = len(files) - 1
    return files[0] + (f" and {more} more" if more else "")
