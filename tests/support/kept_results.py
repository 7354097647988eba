"""`pytest --reuse`: a test file whose inputs are what they were when it passed is not run again.

What a file's tests depend on is one key (result_keys.py); tests that passed are kept under it
(result_store.py). A file's tests are left out only where all that are selected are kept. The
controlling process decides before anything is collected, so that all workers leave out the same.
"""

import os

import pytest
from kept_chooser import Chooser
from kept_keeper import Keeper


def pytest_addoption(parser: pytest.Parser) -> None:
    """Reuse is asked for by name."""
    parser.addoption(
        "--reuse",
        action="store_true",
        help="leave out test files that passed here and whose inputs are what they were",
    )
    parser.addoption(
        "--fresh", action="store_true", help="with --reuse: leave out nothing, but keep what passes"
    )


def pytest_configure(config: pytest.Config) -> None:
    """A worker leaves out what the controlling process found."""
    if not config.getoption("reuse"):
        return
    if os.environ.get("KUBECONFIG"):
        config.pluginmanager.register(_OtherCluster())
    elif hasattr(config, "workerinput"):
        config.pluginmanager.register(Chooser(config, config.workerinput["passed"]))
    else:
        keeper = Keeper(config)
        config.pluginmanager.register(keeper)
        config.pluginmanager.register(Chooser(config, keeper.passed, keeper.left_out))


class _OtherCluster:
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(
            "--reuse: nothing was left out and nothing is kept, for no key holds the state of the "
            "cluster that KUBECONFIG names"
        )
