"""Compiled headers: what tests compile with them is what the compiler makes without them."""

import subprocess

import compiled_headers
import pytest
from compiler_cache import compiler
from kept import kept

pytestmark = pytest.mark.slow
SOURCE = """
// made by AOTInductor
#include <torch/csrc/inductor/aoti_include/cpu.h>

#include <cstddef>
std::size_t number() { return NUMBER; }
#include <vector>
"""


def write_header(folder, text):
    header = folder / "include/torch/csrc/inductor/aoti_include/cpu.h"
    header.parent.mkdir(parents=True, exist_ok=True)
    header.write_text(f"#ifndef CPU_H\n#define CPU_H\n{text}\n#endif\n")


@pytest.fixture
def compile_one(tmp_path, monkeypatch):
    """Compiles a source with flags by that command; gives (exit code, object)."""
    monkeypatch.setenv("NACELLE_CACHE", str(tmp_path / "cache"))
    write_header(tmp_path, "constexpr int NUMBER = 1;")

    def run(command, source, *flags):
        (tmp_path / "x.cpp").write_text(source)
        made = tmp_path / "x.o"
        made.unlink(missing_ok=True)
        words = [command, *flags, f"-I{tmp_path / 'include'}", "-c", str(tmp_path / "x.cpp")]
        ended = subprocess.run([*words, "-o", str(made)], capture_output=True, check=False)
        return ended.returncode, made.read_bytes() if made.exists() else None

    return run


def compiled():
    return len(list(kept("headers").rglob("begin.h.gch")))


def test_what_a_source_begins_with_ends_at_its_first_code():
    lines = ["#include <torch/csrc/inductor/aoti_include/cpu.h>", "#include <cstddef>"]
    assert compiled_headers.first_headers(SOURCE) == lines
    assert compiled_headers.first_headers("int a;\n#include <cstddef>\n") == []


def test_the_object_is_the_same(compile_one):
    assert compile_one("g++", SOURCE, "-O1") == compile_one(compiler(), SOURCE, "-O1")
    assert compiled() == 1


def test_another_source_and_other_flags(compile_one, tmp_path):
    other = SOURCE.replace("NUMBER;", "NUMBER + 1;")
    first = compile_one("g++", SOURCE)
    # Nobody compiles it anew.
    write_header(tmp_path, "#error")
    code, found = compile_one("g++", other)
    assert (code, compiled()) == (0, 1) and found != first[1]
    write_header(tmp_path, "#define NUMBER 2")
    assert compile_one("g++", other, "-O2") == compile_one(compiler(), other, "-O2")
    assert compiled() == 2


def test_headers_that_lie_elsewhere_are_compiled_apart(compile_one, tmp_path):
    once = "#pragma once\nconstexpr int NUMBER = 1;"
    write_header(tmp_path, once)
    assert compile_one("g++", SOURCE)[0] == 0
    (tmp_path / "include").rename(tmp_path / "moved")
    (tmp_path / "include").symlink_to(tmp_path / "moved")
    assert compile_one("g++", SOURCE.replace("NUMBER;", "NUMBER + 1;"))[0] == 0
    assert compiled() == 2


def test_what_begins_otherwise_is_compiled_as_it_is(compile_one):
    assert compile_one("g++", "#include <cstddef>\nint a;\n")[0] == 0
    assert not kept("headers").exists()
