"""A compiler that fails for want of disk or memory is no fault of the program that it compiles."""

from types import SimpleNamespace

import pytest

from nacelle_builder.compile.cpu import aot, toolchain
from nacelle_builder.compile.cpu.object_cache import compile_once
from nacelle_builder.compile.gpu import cubins
from nacelle_builder.compile.gpu.nvcc import run_command
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed, OutOfMemory, StoreUnavailable

SAID = [
    ("fatal error: error writing to /tmp/cc1.s: No space left on device", StoreUnavailable),
    ("/usr/bin/ld: final link failed: Disk quota exceeded", StoreUnavailable),
    ("g++: fatal error: Killed signal terminated program cc1plus", OutOfMemory),
    ("cc1plus: out of memory allocating 65536 bytes: Cannot allocate memory", OutOfMemory),
    ("x.cpp:1:1: error: 'a' does not name a type", CompileFailed),
]


@pytest.fixture
def compiler(tmp_path):
    """A compiler that says a line and another one, and fails."""

    def make(line):
        path = tmp_path / "compiler"
        path.write_text(
            f"#!/bin/sh\ncat >&2 <<'END'\n{line}\ncompilation terminated.\nEND\nexit 1\n"
        )
        path.chmod(0o755)
        return str(path)

    return make


@pytest.mark.parametrize(("line", "error"), SAID)
def test_kernels(compiler, tmp_path, monkeypatch, line, error):
    monkeypatch.setattr(toolchain, "COMPILER", compiler(line))
    with pytest.raises(error, match="ended with 1: ") as info:
        toolchain.Toolchain(Architecture.X86_64_V3, tmp_path).compile_kernels(tmp_path / "k.so")
    assert (type(info.value), line in str(info.value)) == (error, True)


@pytest.mark.parametrize(("line", "error"), SAID)
def test_cuda_sources(compiler, line, error):
    with pytest.raises(error, match="ended with 1: ") as info:
        run_command([compiler(line)])
    assert (type(info.value), line in str(info.value)) == (error, True)


def test_a_compiler_that_there_is_no_memory_to_start(monkeypatch):
    def fork(*arguments, **options):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("nacelle_builder.compile.gpu.nvcc.subprocess.run", fork)
    with pytest.raises(OutOfMemory, match="nvcc cannot be started: Cannot allocate memory"):
        run_command(["nvcc"])


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("os.kill(os.getpid(), 9)", OutOfMemory, "the compiler's process was killed"),
        ("raise OSError(28, 'No space left on device')", StoreUnavailable, "No space left"),
        ("raise ValueError('no ptxas')", CompileFailed, "ended with 1: .*no ptxas"),
        ("answer({'a': '[Errno 28] No space left on device'})", StoreUnavailable, "kernel a for"),
        ("answer({'a': 'out of registers'})", None, ""),
    ],
)
def test_kernels_of_a_gpu(tmp_path, monkeypatch, code, error, message):
    """What one kernel fails by, and what the machine does to the process that compiles it."""
    lines = (
        "import json, os",
        "def answer(failed): print(json.dumps({'made': [], 'failed': failed}))",
        code,
    )
    (tmp_path / "stand_in.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(cubins, "WORKER", "stand_in")
    if error is None:
        assert cubins.try_cubins([], Architecture.SM_90, tmp_path).failed == {
            "a": "out of registers"
        }
        return
    with pytest.raises(error, match=message) as info:
        cubins.try_cubins([], Architecture.SM_90, tmp_path)
    assert type(info.value) is error


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (OSError(28, "No space left on device", "/tmp/torchinductor/a.cpp"), StoreUnavailable),
        (
            RuntimeError("C++ compile error\nOutput:\nx.s: No space left on device"),
            StoreUnavailable,
        ),
        (MemoryError(), MemoryError),
        (RuntimeError("no rule\nfor this op"), CompileFailed),
    ],
)
def test_programs(tmp_path, monkeypatch, raised, error):
    def export(module, spec):
        raise raised

    monkeypatch.setattr(aot, "_export", export)
    spec = SimpleNamespace(name="embed", file="embed.so")
    tools = toolchain.Toolchain(Architecture.X86_64_V3, tmp_path)
    with pytest.raises(error) as info:
        aot.compile_program(None, spec, tools, tmp_path / "k.so", tmp_path)
    assert type(info.value) is error


def test_an_object_that_cannot_be_kept_is_made_all_the_same(tmp_path):
    (tmp_path / "x.cpp").write_text("")
    (tmp_path / "objects").write_text("where a folder would be")
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\n: > {tmp_path / 'x.o'}\n")
    compiler.chmod(0o755)
    arguments = ["-c", str(tmp_path / "x.cpp"), "-o", str(tmp_path / "x.o")]
    assert compile_once(tmp_path / "objects", str(compiler), arguments) == 0
    assert (tmp_path / "x.o").exists()
