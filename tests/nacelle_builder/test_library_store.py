"""Compiled libraries are kept by what they are made of."""

from pathlib import Path

import pytest

from nacelle_builder.compile.gpu import library_store
from nacelle_builder.compile.gpu.flashinfer_library import Kit, attention_library
from nacelle_builder.compile.gpu.flashinfer_sources import Headers
from nacelle_builder.compile.gpu.library_store import LibraryStore
from nacelle_builder.compile.gpu.nvcc import Toolkit
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed
from nacelle_engine.ops.gpu.attention_shape import AttentionShape

LIBRARY = attention_library(AttentionShape(32, 8, 128), "fa3")
WINDOWED = attention_library(AttentionShape(32, 8, 128, window=64), "fa3")
SM_90, SM_100 = Architecture.SM_90, Architecture.SM_100


def kit(**versions):
    return Kit(Toolkit(Path("/cuda")), Headers(Path("/data"), Path("/ffi")), versions)


@pytest.fixture
def compiled(monkeypatch):
    """The names of what was compiled; the compiler writes a library's name into its file."""
    names = []

    def compile_libraries(libraries, _architecture, out, _report, _kit):
        for library in libraries:
            names.append(library.name)
            (out / library.file).write_text(library.name)

    monkeypatch.setattr(library_store, "compile_libraries", compile_libraries)
    return names


def rank(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    return folder


def test_a_second_build_compiles_nothing(compiled, tmp_path):
    for build in ("first", "second"):
        out = rank(tmp_path, build)
        LibraryStore(tmp_path / "kept", SM_90, kit(nvcc="13")).put((LIBRARY, WINDOWED), out)
        assert (out / WINDOWED.file).read_text() == WINDOWED.name
    assert compiled == [LIBRARY.name, WINDOWED.name]


@pytest.mark.parametrize(
    ("architecture", "versions"),
    [(SM_100, {"nvcc": "13"}), (SM_90, {"nvcc": "14"}), (SM_90, {"nvcc": "13", "x": "1"})],
)
def test_another_compiler_or_target_compiles_anew(compiled, tmp_path, architecture, versions):
    LibraryStore(tmp_path / "kept", SM_90, kit(nvcc="13")).put((LIBRARY,), rank(tmp_path, "a"))
    again = LibraryStore(tmp_path / "kept", architecture, kit(**versions))
    again.put((LIBRARY,), rank(tmp_path, "b"))
    assert len(compiled) == 2


def test_changed_sources_of_our_own_compile_anew(compiled, tmp_path, monkeypatch):
    before = LibraryStore(tmp_path, SM_90, kit()).place(LIBRARY)
    monkeypatch.setattr(library_store, "file_sha256", lambda path: "other")
    assert LibraryStore(tmp_path, SM_90, kit()).place(LIBRARY) != before


def test_a_compiler_that_fails_leaves_no_library(tmp_path, monkeypatch):
    def fails(libraries, _architecture, out, _report, _kit):
        (out / libraries[0].file).write_text("half")
        raise CompileFailed("nvcc ended with 2")

    monkeypatch.setattr(library_store, "compile_libraries", fails)
    store = LibraryStore(tmp_path / "kept", SM_90, kit())
    with pytest.raises(CompileFailed, match="nvcc ended with 2"):
        store.put((LIBRARY,), rank(tmp_path, "out"))
    assert not store.place(LIBRARY).exists()
    assert not (tmp_path / "out" / LIBRARY.file).exists()
