"""Kernels compiled without a GPU, and a kernel that does not compile."""

from dataclasses import replace

import pytest

from nacelle_builder.compile.gpu.cubins import compile_cubins, try_cubins
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed
from nacelle_engine.ops.gpu import embed

SHAPE = embed.Shape(64)
KERNEL = embed.kernel(SHAPE, embed.choices(SHAPE)[0])
WRONG = replace(KERNEL, name="wrong", constants={**KERNEL.constants, "ANOTHER": 1})


def test_a_kernel_becomes_a_file_and_what_its_launch_needs(tmp_path):
    (facts,) = compile_cubins([KERNEL], Architecture.SM_90, tmp_path)
    assert (tmp_path / facts.file).read_bytes()[:4] == b"\x7fELF"
    assert facts.name == KERNEL.name
    assert facts.entry == "embed"
    assert facts.arguments == ("*i64", "*bf16", "*bf16")
    assert facts.dependent


def test_a_kernel_that_does_not_compile_is_named(tmp_path):
    cubins = try_cubins([WRONG, KERNEL], Architecture.SM_90, tmp_path)
    assert list(cubins.made) == [KERNEL.name]
    with pytest.raises(CompileFailed, match=r"kernel wrong for sm_90: the function takes"):
        compile_cubins([WRONG], Architecture.SM_90, tmp_path)
