"""The command itself: what becomes of output that nobody reads."""

import os
import subprocess
import sys

from page_bundles import cpu_bundle


def test_a_reader_that_leaves_ends_a_command_without_a_traceback(tmp_path):
    bundle = tmp_path / "bundle"
    cpu_bundle(bundle)
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "nacelle_cli.main", "inspect", str(bundle)]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")
