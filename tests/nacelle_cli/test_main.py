"""The command itself: what becomes of output that nobody reads, and what its processes inherit."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from page_bundles import cpu_bundle

from nacelle_cli import main as entry
from nacelle_engine.openmp import TURNS


def test_a_reader_that_leaves_ends_a_command_without_a_traceback(tmp_path):
    bundle = tmp_path / "bundle"
    cpu_bundle(bundle)
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "nacelle_cli.main", "inspect", str(bundle)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(("name", "set_"), [("serve", True), ("build", True), ("bench", False)])
def test_threads_wait_briefly_where_a_node_has_other_work(monkeypatch, name, set_):
    """It is in the environment before the command's module, and with it torch, is imported."""
    for variable in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(variable, raising=False)
    found = []

    def module(_name):
        found.append(os.environ.pop("GOMP_SPINCOUNT", None))
        return SimpleNamespace(configure=lambda parser: None, run=lambda arguments: 0)

    monkeypatch.setattr(entry.importlib, "import_module", module)
    assert entry.main([name]) == 0
    assert found == ([str(TURNS)] if set_ else [None])
