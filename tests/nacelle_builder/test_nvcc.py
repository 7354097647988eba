from pathlib import Path

import pytest

from nacelle_builder.compile.gpu.nvcc import (
    Toolkit,
    Unit,
    compile_commands,
    compile_library,
    find_toolkit,
    link_command,
    run_command,
)
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed

KIT = Toolkit(Path("/cuda"))
UNIT = Unit(
    sources=(Path("/s/one.cu"), Path("/s/two.cu")),
    includes=(Path("/i"), Path("/j")),
    defines=("A", "B=4"),
    prelude=Path("/p/only.cuh"),
    exports=Path("/p/exports.map"),
    libraries=(Path("/l/libtvm_ffi.so"),),
)


def install(packages, *names):
    home = packages / "nvidia" / "cu13"
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()


def test_a_command_for_each_source():
    commands = compile_commands(KIT, Architecture.SM_90, UNIT, Path("/w"))
    assert [command[-2:] for command in commands] == [["-o", "/w/one.o"], ["-o", "/w/two.o"]]
    assert commands[0][0] == "/cuda/bin/nvcc"
    assert {"-DA", "-DB=4", "-I/i", "-I/j", "-include=/p/only.cuh"} <= set(commands[0])


@pytest.mark.parametrize(
    ("architecture", "real"),
    [("sm_80", "80"), ("sm_89", "89"), ("sm_90", "90a"), ("sm_100", "100a")],
)
def test_the_architecture_with_all_its_instructions(architecture, real):
    command = compile_commands(KIT, Architecture(architecture), UNIT, Path("/w"))[0]
    assert f"-gencode=arch=compute_{real},code=sm_{real}" in command


def test_a_cpu_is_refused():
    with pytest.raises(CompileFailed, match="architecture x86-64-v3: nvcc compiles for GPUs only"):
        compile_commands(KIT, Architecture.X86_64_V3, UNIT, Path("/w"))


def test_linked_without_a_search_path_and_exporting_what_is_called():
    command = link_command(KIT, UNIT, Path("/w"), Path("/o/a.so"))
    assert command[:4] == ["g++", "-shared", "/w/one.o", "/w/two.o"]
    assert "-Wl,--version-script=/p/exports.map" in command
    assert "-Wl,-soname,a.so" in command
    assert not [part for part in command if "rpath" in part]


def test_sources_come_before_the_link(tmp_path):
    ran = []
    compile_library(KIT, Architecture.SM_90, UNIT, tmp_path / "a.so", ran.append)
    assert {command[-3] for command in ran[:2]} == {"/s/one.cu", "/s/two.cu"}
    assert ran[2][0] == "g++"


def test_a_failed_command_says_its_last_lines():
    with pytest.raises(CompileFailed, match=r"sh ended with 3: two \| three"):
        run_command(["sh", "-c", "echo two; echo three >&2; exit 3"])


def test_only_the_last_six_lines_are_told():
    with pytest.raises(CompileFailed, match=r"ended with 1: 5 \| 6 \| 7 \| 8 \| 9 \| 10$"):
        run_command(["sh", "-c", "seq 10; exit 1"])


def test_a_missing_command_is_named(tmp_path):
    with pytest.raises(CompileFailed, match="nvcc cannot be started: No such file"):
        run_command([str(tmp_path / "nvcc")])


def test_missing_wheels_are_named(tmp_path):
    install(tmp_path, "bin/nvcc", "lib/libcudart.so.13")
    with pytest.raises(
        CompileFailed, match="lacks nvidia-nvvm, nvidia-cuda-crt, nvidia-curand: install"
    ):
        find_toolkit(tmp_path)


def test_a_whole_toolkit_is_found(tmp_path):
    install(tmp_path, "bin/nvcc", "nvvm/bin/cicc", "include/crt/host_config.h",
            "include/curand_kernel.h", "lib/libcudart.so.13")  # fmt: skip
    assert find_toolkit(tmp_path).nvcc == tmp_path / "nvidia" / "cu13" / "bin" / "nvcc"


def test_an_installed_toolkit_serves_where_wheels_lack(tmp_path, monkeypatch):
    home = tmp_path / "nvidia" / "cu13"
    install(tmp_path, "bin/nvcc", "nvvm/bin/cicc", "include/crt/host_config.h",
            "include/curand_kernel.h", "lib64/libcudart.so.13")  # fmt: skip
    (home / "bin" / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(home / "bin"), prepend=":")
    found = find_toolkit(tmp_path / "elsewhere")
    assert found.home == home
    assert found.runtime == home / "lib64" / "libcudart.so.13"


def test_the_compilers_version_is_its_last_line(tmp_path):
    install(tmp_path, "bin/nvcc")
    toolkit = Toolkit(tmp_path / "nvidia" / "cu13")
    toolkit.nvcc.write_text("#!/bin/sh\necho one; echo Build 13.0\n")
    toolkit.nvcc.chmod(0o755)
    assert toolkit.version() == "Build 13.0"
