"""What every test runs under: Triton interprets, and compilers keep what they made."""

import gc
import os
import re
import sys
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Timing is no test's pass or fail; a failure prints what it takes to see it again.
settings.register_profile(
    "nacelle",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
    print_blob=True,
)
settings.load_profile("nacelle")
pytest_plugins = ["kept_results"]
# Triton reads it when it is imported.
os.environ["TRITON_INTERPRET"] = "1"
# Two test processes share the cores: threads that wait must sleep. torch reads it when imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Subprocesses of tests compile too: they find the keeping g++ of support/bin on the PATH.
os.environ["NACELLE_TEST_PYTHON"] = sys.executable
os.environ["PATH"] = f"{Path(__file__).parent / 'support' / 'bin'}{os.pathsep}{os.environ['PATH']}"
# What a file begins with whose tests are all slow.
_ALL_SLOW = re.compile(r"^pytestmark = (\[\s*)?pytest\.mark\.slow\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file of slow tests alone is not imported (torch's compilers, clients) to run none of it."""
    expression: str = config.option.markexpr
    if "not slow" not in expression.split(" and ") or " or " in expression:
        return None
    if collection_path.suffix != ".py":
        return None
    slow = _in_gpu(collection_path) or bool(_ALL_SLOW.search(collection_path.read_text("utf-8")))
    return slow or None


def _in_gpu(path: Path) -> bool:
    return path.parent.name == "gpu"


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Interpreted and cross-compiled kernels take a minute: they run with the other slow tests."""
    for item in items:
        if _in_gpu(item.path):
            item.add_marker(pytest.mark.slow)


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the longest walk is, and over what; how often the operator is killed."""
    parser.addoption(
        "--walk-requests",
        type=int,
        default=1_000,
        help="requests of the walk over a float32 engine (test_long_walk.py)",
    )
    parser.addoption(
        "--walk-bundle",
        type=Path,
        help="a sealed BatchInvariant bundle for this machine, over which that walk goes instead",
    )
    parser.addoption(
        "--chaos-kills", type=int, default=50, help="kills of the operator (test_chaos.py)"
    )
    parser.addoption("--chaos-seed", type=int, default=1, help="what their moments follow from")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Figures that tests took are shown, whatever they are: timing is no test's pass or fail."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.section(str(name))
            terminalreporter.line(str(value))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays for good: the collector need not go through it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
