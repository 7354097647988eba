"""In the process that runs tests: leaves out what passed before, and tells what the others read."""

from collections.abc import Generator, Mapping, Sequence

import pytest
from files_read import FilesRead


def file_of(nodeid: str) -> str:
    """The path of a test's file, below the root."""
    return nodeid.split("::")[0]


class Chooser:
    """Takes the tests that passed, by file; the names of those left out go into a list."""

    def __init__(
        self,
        config: pytest.Config,
        passed: Mapping[str, Sequence[str]],
        left_out: list[str] | None = None,
    ) -> None:
        self._config = config
        self._left_out = [] if left_out is None else left_out
        self._passed = {file: frozenset(tests) for file, tests in passed.items()}
        self._read = FilesRead(config.rootpath)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        selected: dict[str, set[str]] = {}
        for item in items:
            selected.setdefault(file_of(item.nodeid), set()).add(item.nodeid)
        kept_files = {f for f, tests in selected.items() if tests <= self._passed.get(f, set())}
        left_out = [item for item in items if file_of(item.nodeid) in kept_files]
        if not left_out:
            return
        items[:] = [item for item in items if file_of(item.nodeid) not in kept_files]
        self._config.hook.pytest_deselected(items=left_out)
        self._left_out += [item.nodeid for item in left_out]

    def pytest_sessionfinish(self) -> None:
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput["left_out"] = self._left_out

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        if isinstance(collector, pytest.Module):
            self._read.at_work = collector.nodeid
        try:
            return (yield)
        finally:
            self._read.at_work = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._read.at_work = file_of(item.nodeid)
        try:
            return (yield)
        finally:
            self._read.at_work = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "teardown":
            report.files_read = self._read.take(file_of(item.nodeid))
        return report
