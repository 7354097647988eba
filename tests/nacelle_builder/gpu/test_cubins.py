"""Kernels compiled without a GPU, and a kernel that does not compile."""

from dataclasses import replace

import pytest

from nacelle_builder.compile.gpu import cubins
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed
from nacelle_engine.ops.gpu import embed

SHAPE = embed.Shape(64)
KERNEL = embed.kernel(SHAPE, embed.choices(SHAPE)[0])
WRONG = replace(KERNEL, name="wrong", constants={**KERNEL.constants, "ANOTHER": 1})


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """(rank, what became of both kernels)."""
    rank = tmp_path_factory.mktemp("rank0")
    return rank, cubins.try_cubins([WRONG, KERNEL], Architecture.SM_90, rank)


def test_a_kernel_becomes_a_file_and_what_its_launch_needs(tried):
    rank, found = tried
    facts = found.made[KERNEL.name]
    assert (rank / facts.file).read_bytes()[:4] == b"\x7fELF"
    assert facts.name == KERNEL.name
    assert facts.entry == "embed"
    assert facts.arguments == ("*i64", "*bf16", "*bf16")
    assert facts.dependent


def test_a_kernel_that_does_not_compile_is_named(monkeypatch, tried):
    rank, found = tried
    assert list(found.made) == [KERNEL.name]
    monkeypatch.setattr(cubins, "try_cubins", lambda *_: found)
    with pytest.raises(CompileFailed, match=r"kernel wrong for sm_90: the function takes"):
        cubins.compile_cubins([WRONG], Architecture.SM_90, rank)


def test_all_kernels_that_compile_are_given_in_order(tmp_path, monkeypatch, tried):
    facts = tried[1].made[KERNEL.name]
    made = {name: facts.model_copy(update={"name": name}) for name in ("one", "two")}
    monkeypatch.setattr(cubins, "try_cubins", lambda *_: cubins.Cubins(made, {}))
    kernels = [replace(KERNEL, name=name) for name in ("two", "one")]
    found = cubins.compile_cubins(kernels, Architecture.SM_90, tmp_path)
    assert found == (made["two"], made["one"])
