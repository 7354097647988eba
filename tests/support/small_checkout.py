"""A checkout of a few files, for the tests of what is reached from a test file and kept of it."""

from pathlib import Path

FILES = {
    "pyproject.toml": '[tool.pytest.ini_options]\nmarkers = ["slow: takes long"]\n',
    "tests/conftest.py": 'pytest_plugins = ["kept_results"]\n',
    "tests/support/world.py": "from nacelle_bolt.thread import PITCH\n",
    "tests/support/unused.py": "",
    "tests/nacelle_bolt/conftest.py": "import world\n",
    "tests/nacelle_bolt/golden/bolt.txt": "1",
    "tests/nacelle_bolt/test_bolt.py": (
        "import pytest\n"
        "from nacelle_bolt.bolt import length\n\n"
        "def test_length():\n    assert length() == 1\n\n"
        "@pytest.mark.slow\ndef test_again():\n    assert length() > 0\n"
    ),
    "tests/nacelle_nut/test_nut.py": "def test_nut():\n    assert True\n",
    "parts/nacelle_bolt/__init__.py": "",
    "parts/nacelle_bolt/bolt.py": "def length():\n    return 1\n",
    "parts/nacelle_bolt/thread.py": "PITCH = 1\n",
    "parts/nacelle_bolt/head/__init__.py": "",
    "parts/nacelle_bolt/head/hexagon.py": "",
    "parts/nacelle_bolt/table.csv": "1,2",
    "parts/nacelle_nut/__init__.py": "",
    "parts/nacelle_nut/main.py": 'COMMANDS = {"turn": ("nacelle_nut.turn", "turn it")}\n',
    "parts/nacelle_nut/turn.py": "",
    "charts/bolts/Chart.yaml": "",
    "charts/nuts/Chart.yaml": "",
    "docs/bolt.md": "",
}


def write_checkout(root: Path) -> Path:
    """All of FILES below a folder."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)
