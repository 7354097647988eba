"""Every op compiles for every GPU architecture on a machine without one, within its limits."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kept import kept

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.capability import shared_memory

SCRIPT = Path(__file__).parents[2] / "support/cubin_usage.py"
GPUS = [architecture for architecture in Architecture if not architecture.is_cpu]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", GPUS)
def test_defaults_compile_without_spills(architecture):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(kept("triton"))}
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
    assert [kernel for kernel in found if kernel["shared"] > shared_memory(architecture)] == []
