"""`nacelle bench attention`: a wrong flag or a missing part is one line of its own."""

import pytest

from nacelle_bench import attention_libraries
from nacelle_bench.attention_libraries import architecture_of, compile_table, require_gpu, shapes_of
from nacelle_cli.main import main
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.machine import Gpu


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--compile-only sm_90", "--compile-only needs --libraries, the folder to compile into"),
        ("--compile-only x86-64-v3 --libraries out", "--compile-only: x86-64-v3 is not a GPU"),
        ("--context 512 100", "--context, --prompt: 100 is no multiple of 128"),
        ("--kv-heads 0", "--kv-heads: at least 1"),
    ],
)
def test_a_wrong_flag_is_named(capsys, flags, line):
    assert main(["bench", "attention", *flags.split()]) == 65
    assert f"nacelle bench: InvalidRequest: {line}" in capsys.readouterr().err


def test_all_that_is_missing_is_named_at_once(monkeypatch):
    monkeypatch.setattr(attention_libraries, "first_gpu", lambda: None)
    monkeypatch.setattr(attention_libraries, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequest, match=r"lacks a GPU .*, the package triton, .*tvm-ffi"):
        require_gpu()


def test_a_gpu_is_compiled_for_by_its_capability(monkeypatch):
    monkeypatch.setattr(
        attention_libraries, "first_gpu", lambda: Gpu((9, 0), "NVIDIA-H100", 132, 80 << 30)
    )
    monkeypatch.setattr(attention_libraries, "find_spec", lambda name: object())
    assert require_gpu() == Architecture.SM_90
    with pytest.raises(InvalidRequest, match=r"sm_75, 40 SMs.*compiled for sm_80, sm_89"):
        architecture_of(Gpu((7, 5), "Tesla-T4", 40, 16 << 30))


def test_fp8_is_measured_where_the_gpu_converts_it():
    assert [shape.fp8 for shape in shapes_of(32, 8, 128, Architecture.SM_80)] == [False]
    assert [shape.fp8 for shape in shapes_of(32, 8, 128, Architecture.SM_89)] == [False, True]


def test_what_the_folder_holds_is_not_compiled_again(monkeypatch, tmp_path):
    made = []

    def compile_libraries(libraries, architecture, rank, report):
        for library in libraries:
            made.append(library.name)
            (rank / library.file).write_bytes(bytes(2048))

    monkeypatch.setattr(attention_libraries, "compile_libraries", compile_libraries)
    kept = tmp_path / "sm_89" / "attention-fa2-d128-g4-bf16.so"
    kept.parent.mkdir()
    kept.write_bytes(bytes(1024))
    table = compile_table(shapes_of(32, 8, 128, Architecture.SM_89), tmp_path)
    assert made == [
        "attention-decode-d128-g4-bf16",
        "attention-decode-d128-g4-fp8", "attention-fa2-d128-g4-fp8",
    ]  # fmt: skip
    assert [(row["library"], row["KB"]) for row in table.rows][:2] == [
        ("attention-decode-d128-g4-bf16", 2), ("attention-fa2-d128-g4-bf16", 1),
    ]  # fmt: skip


def test_a_head_size_without_kernels_is_refused(tmp_path):
    with pytest.raises(InvalidRequest, match="head size 32: FlashInfer has no kernels for it"):
        compile_table(shapes_of(4, 2, 32, Architecture.SM_90), tmp_path)
