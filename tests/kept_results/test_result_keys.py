"""What another key follows from, and what it does not."""

import pytest
from result_keys import ResultKeys
from small_checkout import append, write_checkout

BOLT, NUT = "tests/nacelle_bolt/test_bolt.py", "tests/nacelle_nut/test_nut.py"
OPTIONS = ["-m", "slow"]
ENVIRONMENT = {"NACELLE_CACHE": "/cache", "OMP_NUM_THREADS": "1", "LUCK": "good"}


def key(root, test=BOLT, options=OPTIONS, environment=ENVIRONMENT):
    return ResultKeys(root, options, environment).key(test)


def test_the_same_wherever_the_checkout_lies(tmp_path):
    one, other = (write_checkout(tmp_path / name) for name in ("one", "other"))
    keys = [
        key(root, options=["--at", f"{root}/x"], environment={"PYTHONPATH": f"{root}/parts"})
        for root in (one, other)
    ]
    assert keys[0] == keys[1] and len(keys[0]) == 64


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        (BOLT, True),
        ("tests/conftest.py", True),
        ("tests/nacelle_bolt/conftest.py", True),
        ("tests/nacelle_bolt/golden/bolt.txt", True),
        ("tests/nacelle_bolt/golden/new.txt", True),
        ("tests/support/world.py", True),
        ("parts/nacelle_bolt/bolt.py", True),
        ("parts/nacelle_bolt/thread.py", True),
        ("parts/nacelle_bolt/table.csv", True),
        ("pyproject.toml", True),
        (NUT, False),
        ("tests/nacelle_bolt/test_other.py", False),
        ("tests/support/unused.py", False),
        ("parts/nacelle_bolt/head/hexagon.py", False),
        ("parts/nacelle_nut/turn.py", False),
        ("docs/bolt.md", False),
        ("charts/bolts/Chart.yaml", False),
    ],
)
def test_a_file_changes_the_key_of_what_reaches_it(tmp_path, file, changes):
    root = write_checkout(tmp_path)
    before = key(root)
    append(root / file, "\n# changed\n")
    assert (key(root) != before) is changes


def test_a_file_that_may_be_run_now_is_another(tmp_path):
    root = write_checkout(tmp_path)
    before = key(root)
    (root / "parts/nacelle_bolt/table.csv").chmod(0o755)
    assert key(root) != before


def test_a_file_that_is_gone_changes_the_key(tmp_path):
    root = write_checkout(tmp_path)
    before = key(root)
    (root / "tests/nacelle_bolt/golden/bolt.txt").unlink()
    assert key(root) != before


@pytest.mark.parametrize(
    ("variable", "value", "changes"),
    [
        ("NACELLE_CACHE", "/other", True),
        ("OMP_NUM_THREADS", "2", True),
        ("PYTHONPATH", "elsewhere", True),
        ("https_proxy", "http://proxy", True),
        ("LUCK", "bad", False),
        ("PYTEST_CURRENT_TEST", "x", False),
        ("MAKEFLAGS", "j", False),
    ],
)
def test_a_variable_that_is_read_changes_the_key(tmp_path, variable, value, changes):
    root = write_checkout(tmp_path)
    other = {**ENVIRONMENT, variable: value}
    assert (key(root) != key(root, environment=other)) is changes


def test_a_variable_counts_where_its_name_is_in_what_is_reached(tmp_path):
    root = write_checkout(tmp_path)
    append(root / "parts/nacelle_bolt/thread.py", 'os.environ["LUCK"]\n')
    other = {**ENVIRONMENT, "LUCK": "bad"}
    assert key(root) != key(root, environment=other)
    assert key(root, NUT) == key(root, NUT, environment=other)


def test_what_passed_with_all_tests_asked_for_counts_without(tmp_path):
    """`make FRESH=1` leaves it in the environment, and texts tell of it."""
    root = write_checkout(tmp_path)
    append(root / "parts/nacelle_bolt/thread.py", "# make FRESH=1\n")
    assert key(root) == key(root, environment={**ENVIRONMENT, "FRESH": "1"})


def test_options_and_the_test_itself_count(tmp_path):
    root = write_checkout(tmp_path)
    keys = [key(root), key(root, options=["-m", "e2e"]), key(root, options=[]), key(root, NUT)]
    assert len(set(keys)) == 4


def test_what_was_read_without_being_reached(tmp_path):
    keys = ResultKeys(write_checkout(tmp_path), [], {})
    read = [
        BOLT,
        "pyproject.toml",
        ".",
        "build/made.txt",
        "docs/bolt.md",
        "charts",
        "parts/nacelle_bolt",
    ]
    assert keys.unforeseen(BOLT, read) == ["charts", "docs/bolt.md", "parts/nacelle_bolt"]
