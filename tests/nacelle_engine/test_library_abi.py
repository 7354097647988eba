"""Prebuilt libraries are refused by name before the GPU is touched."""

from importlib.metadata import PackageNotFoundError

import pytest
import torch

from nacelle_engine.errors import AbiMismatch, CorruptBundle
from nacelle_engine.program import gpu, library_abi
from nacelle_engine.program.attention_library import AttentionLibrary, BuiltLibrary
from nacelle_engine.program.launch import LAUNCHES, LaunchList
from nacelle_engine.program.library_abi import abi_here, check_libraries

LIBRARY = AttentionLibrary(
    name="fa3", file="fa3.so", algorithm="fa3", head_dim=128, group_size=4, kv_dtype="bfloat16"
)
HERE = "cudart13-tvm_ffi0.1.15"


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    monkeypatch.setattr(library_abi, "version", lambda package: "0.1.15")
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def built(abi=HERE):
    return (BuiltLibrary(library=LIBRARY, abi=abi),)


def test_the_abi_is_cudas_runtime_and_tvm_ffi():
    assert abi_here() == HERE


def test_a_library_that_is_there_and_fits_is_let_through(tmp_path):
    (tmp_path / "fa3.so").touch()
    check_libraries(tmp_path, built())


def test_no_library_needs_no_package(tmp_path, monkeypatch):
    monkeypatch.setattr(library_abi, "version", missing)
    check_libraries(tmp_path, ())


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "fa3.so").touch()
    monkeypatch.setattr(library_abi, "version", missing)
    with pytest.raises(AbiMismatch, match="the package apache-tvm-ffi, which this runtime lacks"):
        check_libraries(tmp_path, built())


@pytest.mark.parametrize("abi", ["cudart12-tvm_ffi0.1.15", "cudart13-tvm_ffi0.2.0"])
def test_another_abi_is_refused_before_the_gpu_is_touched(tmp_path, monkeypatch, abi):
    (tmp_path / "fa3.so").touch()
    with pytest.raises(AbiMismatch, match=rf"fa3\.so was linked with {abi}, this is {HERE}"):
        opened(tmp_path, monkeypatch, abi)


def test_a_missing_library_is_named_before_the_gpu_is_touched(tmp_path, monkeypatch):
    with pytest.raises(CorruptBundle, match=r"fa3\.so is missing"):
        opened(tmp_path, monkeypatch, HERE)


def opened(rank, monkeypatch, abi):
    """A program over that library, on a machine whose GPU must not be touched."""
    made = LaunchList(kernels=(), libraries=built(abi), buffers=(), steps=(), heads=())
    (rank / LAUNCHES).write_text(made.model_dump_json(by_alias=True))
    monkeypatch.setattr(gpu, "current_device", untouched)
    return gpu.GpuProgram(rank, None)


def untouched():
    raise AssertionError("the GPU was touched")


def missing(package):
    raise PackageNotFoundError(package)
