import pytest

from nacelle_builder.compile.gpu import flashinfer_library as made
from nacelle_builder.compile.gpu.flashinfer_library import (
    Kit,
    attention_libraries,
    compile_libraries,
)
from nacelle_builder.compile.gpu.flashinfer_sources import Headers, write_sources
from nacelle_builder.compile.gpu.nvcc import Toolkit
from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed
from nacelle_engine.ops.gpu.attention_shape import AttentionShape

TEMPLATES = (
    "batch_decode_customize_config", "batch_decode_kernel_inst",
    "batch_prefill_customize_config", "batch_prefill_paged_kernel_inst",
    "batch_prefill_sm90_customize_config", "batch_prefill_paged_sm90_kernel_inst",
    "batch_prefill_fp8_paged_sm90_kernel_inst",
)  # fmt: skip
TEMPLATE = "{{ variant_name }} {{ dtype_q }} {{ dtype_kv }} {{ head_dim_qk }} {{ mask_mode }}\n"


def shape(heads=32, kv_heads=8, head_dim=128, architecture=Architecture.SM_90, **variants):
    return AttentionShape(heads, kv_heads, head_dim, architecture=architecture, **variants)


def names(libraries):
    return [one.name for one in libraries]


@pytest.fixture
def kit(tmp_path):
    csrc = tmp_path / "data" / "csrc"
    csrc.mkdir(parents=True)
    for name in TEMPLATES:
        (csrc / f"{name}.jinja").write_text(TEMPLATE)
    return Kit(Toolkit(tmp_path / "cuda"), Headers(tmp_path / "data", tmp_path / "ffi"))


def test_every_algorithm_is_a_tactic_on_sm_90():
    assert names(attention_libraries(shape())) == [
        "attention-decode-d128-g4-bf16", "attention-fa2-d128-g4-bf16", "attention-fa3-d128-g4-bf16",
    ]  # fmt: skip


def test_fa3_is_for_sm_90_alone():
    assert names(attention_libraries(shape(architecture=Architecture.SM_89, fp8=True))) == [
        "attention-decode-d128-g4-fp8", "attention-fa2-d128-g4-fp8",
    ]  # fmt: skip


def test_a_group_without_a_decode_kernel_has_the_others():
    found = attention_libraries(shape(10, 2))
    assert [one.algorithm for one in found] == ["fa2", "fa3"]


def test_nothing_where_flashinfer_has_nothing():
    assert attention_libraries(shape(head_dim=32)) == ()


def test_the_variant_is_in_the_name_and_fa3_has_no_cap_with_fp8():
    assert names(attention_libraries(shape(fp8=True, window=64, soft_cap=30.0))) == [
        "attention-decode-d128-g4-fp8-window-cap", "attention-fa2-d128-g4-fp8-window-cap",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "fp8", "expected"),
    [
        ("decode", False, "CacheAttention<false, true, false> nv_bfloat16 nv_bfloat16"),
        ("fa2", True, "CacheAttention<false, true, true> nv_bfloat16 __nv_fp8_e4m3"),
        ("fa3", False, "CacheAttention<true> nv_bfloat16 nv_bfloat16"),
    ],
)
def test_templates_are_filled_for_the_variant(kit, tmp_path, algorithm, fp8, expected):
    found = attention_libraries(shape(fp8=fp8, soft_cap=30.0))
    library = next(one for one in found if one.algorithm == algorithm)
    unit = write_sources(library, kit.headers, tmp_path)
    assert unit.sources[0].read_text() == f"{expected} 128 MaskMode::kCausal"


def test_fa3_over_an_fp8_cache_has_its_own_kernels(kit, tmp_path):
    library = attention_libraries(shape(fp8=True))[2]
    unit = write_sources(library, kit.headers, tmp_path)
    assert unit.sources[0].read_text().startswith("Fp8CacheAttention __nv_fp8_e4m3 __nv_fp8_e4m3")
    assert "NACELLE_FP8" in unit.defines


def test_our_own_files_exist(kit, tmp_path):
    for library in attention_libraries(shape()):
        unit = write_sources(library, kit.headers, tmp_path)
        assert unit.sources[1].is_file()
        assert unit.prelude.is_file()
        assert unit.exports.is_file()


def test_a_template_that_flashinfer_lacks_is_named(kit, tmp_path):
    (kit.headers.flashinfer / "csrc" / "batch_decode_kernel_inst.jinja").unlink()
    with pytest.raises(CompileFailed, match=r"batch_decode_kernel_inst\.jinja cannot be read"):
        write_sources(attention_libraries(shape())[0], kit.headers, tmp_path)


def test_progress_names_each_library(kit, tmp_path, monkeypatch):
    monkeypatch.setattr(made, "compile_library", lambda _kit, _arch, _unit, out: out.touch())
    lines = []
    libraries = attention_libraries(shape())[:2]
    compile_libraries(
        libraries, Architecture.SM_90, tmp_path, lambda *line: lines.append(line), kit
    )
    assert lines == [
        (0, "compiling the attention library attention-decode-d128-g4-bf16"),
        (50, "compiling the attention library attention-fa2-d128-g4-bf16"),
        (100, "compiled the attention libraries"),
    ]
    assert all((tmp_path / library.file).exists() for library in libraries)


def test_a_failing_compiler_fails_the_build(kit, tmp_path):
    nvcc = kit.toolkit.nvcc
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\necho 'error: no such instruction' >&2\nexit 2\n")
    nvcc.chmod(0o755)
    libraries = attention_libraries(shape())[:1]
    with pytest.raises(CompileFailed, match="nvcc ended with 2: error: no such instruction"):
        compile_libraries(libraries, Architecture.SM_90, tmp_path, lambda *_: None, kit)


def test_no_libraries_need_no_compiler(tmp_path):
    compile_libraries((), Architecture.SM_90, tmp_path, lambda *_: None)
    assert list(tmp_path.iterdir()) == []
