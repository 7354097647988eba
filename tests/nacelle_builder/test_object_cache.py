"""Kept objects: the compiler runs again whatever could have become another object."""

import subprocess

import pytest
from kept import kept


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A function that compiles x.cpp with flags: its exit code, and the objects kept so far."""
    monkeypatch.setenv("NACELLE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "x.h").write_text("constexpr int NUMBER = 1;\n")
    (tmp_path / "x.cpp").write_text('#include "x.h"\nint number() { return NUMBER; }\n')

    def compile_once(*flags):
        made = tmp_path / "x.o"
        made.unlink(missing_ok=True)
        command = ["g++", *flags, "-c", str(tmp_path / "x.cpp"), "-o", str(made)]
        code = subprocess.run(command, capture_output=True, check=False).returncode
        assert made.exists() == (code == 0)
        return code, len(list(kept("objects").glob("*.o")))

    return compile_once


def test_the_same_source_is_compiled_once(compiled, tmp_path):
    assert compiled() == compiled() == (0, 1)
    source = tmp_path / "x.cpp"
    source.write_text(source.read_text().replace("\nint", "\n// made in /tmp/1\nint"))
    assert compiled() == (0, 2), "a line more moves what asserts say"
    source.write_text(source.read_text().replace("/tmp/1", "/tmp/2"))
    assert compiled() == (0, 2)


@pytest.mark.parametrize("file", ["x.h", "x.cpp"])
def test_a_changed_file_is_compiled_anew(compiled, tmp_path, file):
    compiled()
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(
        text.replace("NUMBER", "(NUMBER)" if file == "x.cpp" else "NUMBER ")
    )
    assert compiled() == (0, 2)


def test_other_flags_are_another_object(compiled):
    compiled("-O1")
    assert compiled("-O2") == (0, 2)


@pytest.mark.parametrize("below", ["site-packages/torch/include", "include/python3.11"])
def test_it_does_not_count_where_an_environment_lies(compiled, tmp_path, below):
    for place, objects in (("one", 1), ("other", 1)):
        assert compiled(f"-I{tmp_path / place / below}") == (0, objects)
    assert compiled(f"-I{tmp_path / 'one' / below}/more") == (0, 2)


def test_another_torch_is_another_object(compiled, tmp_path):
    for number, version in enumerate(("2.11.0", "2.12.0"), start=1):
        torch = tmp_path / version / "site-packages" / "torch"
        torch.mkdir(parents=True)
        (torch / "version.py").write_text(f"__version__ = {version!r}\n")
        assert compiled(f"-I{torch / 'include'}") == (0, number)


def test_what_fails_is_not_kept(compiled, tmp_path):
    (tmp_path / "x.h").write_text("")
    assert compiled() == (1, 0)
