"""What a test file's text reaches, in a small checkout."""

import pytest
from reached_files import Checkout
from small_checkout import append, write_checkout

BOLT = "tests/nacelle_bolt/test_bolt.py"
NUT = "tests/nacelle_nut/test_nut.py"


def reached(root, text):
    """What the nut's test reaches by a text beside what it always does."""
    before = Checkout(root).reached_by(NUT)
    append(root / NUT, text)
    return {path.removeprefix("parts/") for path in Checkout(root).reached_by(NUT) - before}


def test_imports_are_followed_and_a_package_brings_what_is_not_python(tmp_path):
    root = write_checkout(tmp_path)
    assert Checkout(root).reached_by(BOLT) == {
        BOLT,
        "tests/conftest.py",
        "tests/nacelle_bolt/conftest.py",
        "tests/nacelle_bolt/golden/bolt.txt",
        "tests/support/world.py",
        "parts/nacelle_bolt/__init__.py",
        "parts/nacelle_bolt/bolt.py",
        "parts/nacelle_bolt/thread.py",
        "parts/nacelle_bolt/table.csv",
    }


ONE = {"nacelle_bolt/__init__.py", "nacelle_bolt/table.csv"}
HEAD = {"nacelle_bolt/head/__init__.py", "nacelle_bolt/head/hexagon.py"}
ALL = ONE | HEAD | {"nacelle_bolt/bolt.py", "nacelle_bolt/thread.py"}
NUTS = {"nacelle_nut/__init__.py", "nacelle_nut/main.py"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import nacelle_bolt.bolt\n", ONE | {"nacelle_bolt/bolt.py"}),
        ("import nacelle_bolt.bolt as b\n", ONE | {"nacelle_bolt/bolt.py"}),
        ("from nacelle_bolt import bolt, thread\n", ALL - HEAD),
        ("from nacelle_bolt import (\n    bolt,\n    thread as t,\n)\n", ALL - HEAD),
        ("from nacelle_bolt import VERSION\n", ONE),
        ("from nacelle_bolt.bolt import length\n", ONE | {"nacelle_bolt/bolt.py"}),
        ("from nacelle_bolt.head import hexagon\n", ONE | HEAD),
        ("import nacelle_bolt\n", ALL),
        ('run([sys.executable, "-m", "nacelle_bolt"])\n', ALL),
        ('run("python -m nacelle_bolt.bolt")\n', ONE | {"nacelle_bolt/bolt.py"}),
        ('import_module(f"nacelle_bolt.head.{name}")\n', ONE | HEAD),
        ("run(\"python -c 'from nacelle_bolt.bolt import a'\")\n", ONE | {"nacelle_bolt/bolt.py"}),
        ("nacelle_bolts_total = 3\n", set()),
        ("import unused\n", {"tests/support/unused.py"}),
        ("from unused import a\n", {"tests/support/unused.py"}),
        ('run([sys.executable, "-m", "unused"])\n', {"tests/support/unused.py"}),
        ('run("tools/unused.py")\n', {"tests/support/unused.py"}),
        ('"unused"\n', set()),
        ('"-m", "nacelle_nut.main"\n', NUTS),
        ('"-m", "nacelle_nut.main", "turn"\n', NUTS | {"nacelle_nut/turn.py"}),
        ("# nacelle_nut.main\n'nacelle turn'\n", NUTS | {"nacelle_nut/turn.py"}),
        ('Path("charts/bolts")\n', {"charts/bolts/Chart.yaml"}),
        ('Path("charts/bolts/Chart.yaml")\n', {"charts/bolts/Chart.yaml"}),
        ('Path(__file__).parents[2] / "charts" / "bolts"\n', {"charts/bolts/Chart.yaml"}),
        ('Path(__file__).parent.parent.parent / "docs"\n', {"docs/bolt.md"}),
        ('Path(__file__).resolve().parents[2] / "docs/bolt.md"\n', {"docs/bolt.md"}),
        ('ROOT = Path(__file__).parents[2]\nROOT / "docs"\n', {"docs/bolt.md"}),
        (
            "ROOT = Path(__file__).parents[2]\n"
            '[ROOT / one for one in ("docs", "pyproject.toml")]\n',
            {"docs/bolt.md", "pyproject.toml"},
        ),
    ],
)
def test_a_text_reaches(tmp_path, text, expected):
    assert reached(write_checkout(tmp_path), text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "copy(Path(__file__).parents[2])\n",
        'ROOT = Path(__file__).parents[2]\nROOT / "docs"\nROOT.rglob("*")\n',
        'ROOT = Path(__file__).parents[2]\nrun(["docs"], cwd=ROOT)\n',
    ],
)
def test_a_folder_that_is_used_itself_is_reached_whole(tmp_path, text):
    root = write_checkout(tmp_path)
    append(root / NUT, text)
    checkout = Checkout(root)
    assert checkout.reached_by(NUT) == checkout.whole(".") | {NUT}


def test_a_folder_that_a_constant_stands_for_elsewhere(tmp_path):
    root = write_checkout(tmp_path)
    append(root / "parts/nacelle_nut/turn.py", "ROOT = Path(__file__).parents[2]\nROOT / 'docs'\n")
    found = reached(root, 'from nacelle_nut.turn import ROOT\nROOT / "charts" / "nuts"\n')
    assert found == {
        "nacelle_nut/__init__.py",
        "nacelle_nut/turn.py",
        "docs/bolt.md",
        "charts/nuts/Chart.yaml",
    }


def test_a_module_that_looks_beside_itself_reaches_modules_only_by_their_ending(tmp_path):
    root = write_checkout(tmp_path)
    append(root / "parts/nacelle_bolt/bolt.py", 'Path(__file__).parent.glob("*.csv")\n')
    assert reached(root, "import nacelle_bolt.bolt\n") == ONE | {"nacelle_bolt/bolt.py"}
    append(root / "parts/nacelle_bolt/thread.py", 'Path(__file__).parent.glob("*.py")\n')
    assert reached(root, "import nacelle_bolt.thread\n") == ALL - {"nacelle_bolt/bolt.py"} - ONE


def test_the_place_of_a_module_that_is_imported(tmp_path):
    text = "from nacelle_bolt import bolt\nPath(bolt.__file__).parents[1]\n"
    assert reached(write_checkout(tmp_path), text) == ALL


def test_neither_caches_nor_hidden_folders_count(tmp_path):
    root = write_checkout(tmp_path)
    before = Checkout(root).files
    for name in (".venv/a.py", "parts/nacelle_bolt/__pycache__/bolt.pyc", ".git/HEAD", "dist/a"):
        append(root / name, "x")
    assert Checkout(root).files == before
