"""Builds in pods that share a store: they write the same files, and have the same process id."""

import sys
from pathlib import Path

import pytest

from nacelle_builder.compile.cpu.object_cache import compile_once
from nacelle_builder.compile.gpu import library_store
from nacelle_builder.compile.gpu.flashinfer_library import Kit, attention_library
from nacelle_builder.compile.gpu.flashinfer_sources import Headers
from nacelle_builder.compile.gpu.nvcc import Toolkit
from nacelle_builder.compile.tensorrt.plan_worker import _keep
from nacelle_builder.durable import write_durably
from nacelle_builder.source.digest import DigestCache
from nacelle_engine.arch import Architecture
from nacelle_engine.ops.gpu.attention_shape import AttentionShape

LIBRARY = attention_library(AttentionShape(32, 8, 128), "fa3")
KIT = Kit(Toolkit(Path("/cuda")), Headers(Path("/data"), Path("/ffi")), {})


def digests(folder):
    file = folder / "config.json"
    file.write_text("{}")
    DigestCache(folder / "digests.json")(file)


def libraries(folder):
    (folder / "rank").mkdir(exist_ok=True)
    store = library_store.LibraryStore(folder / "libraries", Architecture.SM_90, KIT)
    store.put((LIBRARY,), folder / "rank")


def objects(folder):
    source = folder / "x.cpp"
    source.write_text("")
    compiler = folder / "compiler"
    compiler.write_text(f'#!{sys.executable}\nopen("{folder / "x.o"}", "w").write("o")\n')
    compiler.chmod(0o755)
    arguments = ["-c", str(source), "-o", str(folder / "x.o")]
    assert compile_once(folder / "objects", str(compiler), arguments) == 0


def times(folder):
    _keep(folder / "tactics" / "tensorrt-10.6.0-H200.timing", b"times")


def marker(folder):
    write_durably(folder / "marker.json", b"{}")


@pytest.mark.parametrize("write", [digests, libraries, objects, times, marker])
def test_a_build_that_writes_the_same_at_once_breaks_nothing(tmp_path, monkeypatch, write):
    monkeypatch.setattr(
        library_store,
        "compile_libraries",
        lambda libraries, _architecture, out, _report, _kit: [
            (out / one.file).write_text("library") for one in libraries
        ],
    )
    replace, others = Path.replace, []

    def replace_late(path, target):
        if not others:
            others.append(path)
            write(tmp_path)
        return replace(path, target)

    # Just before the one puts its file in place, the other does all of its work.
    monkeypatch.setattr(Path, "replace", replace_late)
    write(tmp_path)
    assert len(others) == 1


def test_what_could_not_be_written_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nacelle_builder.durable.sync", full)
    with pytest.raises(OSError, match="No space left"):
        write_durably(tmp_path / "marker.json", b"{}")
    assert not list(tmp_path.iterdir())
