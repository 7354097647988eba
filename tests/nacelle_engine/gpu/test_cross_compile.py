"""Every op compiles for every GPU architecture on a machine without one, within its limits."""

import pytest
from cross_compile import cross_compile
from default_jobs import default_jobs

from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.capability import shared_memory

GPUS = [architecture for architecture in Architecture if not architecture.is_cpu]


@pytest.fixture(scope="module")
def compiled():
    """{architecture: kernels}, by one process for all."""
    return cross_compile({gpu: list(default_jobs(gpu)) for gpu in GPUS})


@pytest.mark.slow
@pytest.mark.parametrize("architecture", GPUS)
def test_defaults_compile_without_spills(compiled, architecture):
    found = compiled[architecture]
    assert len({kernel["name"] for kernel in found}) == len(found)
    assert [kernel for kernel in found if kernel["stack"]] == []
    assert [kernel for kernel in found if kernel["shared"] > shared_memory(architecture)] == []
