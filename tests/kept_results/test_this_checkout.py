"""What is read off texts holds all that Python itself would import, test by test."""

import ast
from functools import cache
from pathlib import Path

import grimp
import pytest
from reached_files import Checkout

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CHECKOUT = Checkout(ROOT)
PACKAGES = {
    path.name: path.parent for path in ROOT.glob("*/nacelle_*") if path.parent.name != "tests"
}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(*sorted(PACKAGES), cache_dir=None)


@cache
def imported(file):
    """What a file's import statements name."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def file_of(module):
    place = PACKAGES[module.split(".")[0]] / Path(*module.split("."))
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return str(path.relative_to(ROOT))


def test_every_import_is_followed_to_its_end(graph):
    upstream = cache(graph.find_upstream_modules)
    helpers = {path.stem: path for path in (ROOT / "tests" / "support").glob("*.py")}
    checked = 0
    for test in CHECKOUT.tests:
        reached = CHECKOUT.reached_by(test)
        programs = [file for file in reached if file.startswith("tests/") and file.endswith(".py")]
        names = set().union(*map(imported, programs))
        direct = names & graph.modules
        files = {file_of(module) for module in direct.union(*map(upstream, direct))}
        files |= {str(helpers[name].relative_to(ROOT)) for name in names & helpers.keys()}
        assert {file for file in files if (ROOT / file).exists()} <= reached, test
        checked += len(files)
    assert checked > 10_000


@pytest.mark.parametrize("folder", ["charts", "crds", "deploy", "docs", "samples", "images"])
def test_what_goes_into_images_and_chart_is_reached_from_the_tests_on_a_cluster(folder):
    tests = [test for test in CHECKOUT.tests if test.startswith("tests/e2e/")]
    assert tests and CHECKOUT.whole(folder)
    for test in tests:
        assert CHECKOUT.whole(folder) <= CHECKOUT.reached_by(test), test
