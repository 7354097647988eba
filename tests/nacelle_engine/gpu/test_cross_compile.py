"""Every op compiles for every GPU architecture on a machine without one, within its limits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "support/cubin_usage.py"
# Shared memory that a program can have, in bytes.
SHARED = {"sm_80": 166912, "sm_89": 101376, "sm_90": 232448, "sm_100": 232448}


@pytest.mark.slow
@pytest.mark.parametrize("architecture", SHARED)
def test_defaults_compile_without_spills(architecture, tmp_path):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    del environment["TRITON_INTERPRET"]
    result = subprocess.run(
        [sys.executable, SCRIPT, architecture],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads(result.stdout)
    assert len({kernel["name"] for kernel in found}) == len(found)
    assert [kernel for kernel in found if kernel["stack"]] == []
    assert [kernel for kernel in found if kernel["shared"] > SHARED[architecture]] == []
