import pytest
from pydantic import ValidationError

from nacelle_engine.program.attention_library import AttentionLibrary, refusal


def library(**changes):
    fields = {
        "name": "a", "file": "a.so", "algorithm": "fa2", "head_dim": 128, "group_size": 4,
        "kv_dtype": "bfloat16",
    }  # fmt: skip
    return AttentionLibrary.model_validate(fields | changes)


def test_survives_json():
    one = library(algorithm="fa3", kv_dtype="float8_e4m3fn", sliding_window=True)
    assert AttentionLibrary.model_validate_json(one.model_dump_json(by_alias=True)) == one


@pytest.mark.parametrize(
    ("algorithm", "kv_dtype", "query"),
    [
        ("decode", "bfloat16", "bfloat16"),
        ("decode", "float8_e4m3fn", "bfloat16"),
        ("fa2", "float8_e4m3fn", "bfloat16"),
        ("fa3", "bfloat16", "bfloat16"),
        ("fa3", "float8_e4m3fn", "float8_e4m3fn"),
    ],
)
def test_only_fa3_over_an_fp8_cache_takes_fp8_queries(algorithm, kv_dtype, query):
    assert library(algorithm=algorithm, kv_dtype=kv_dtype).query_dtype == query


def test_a_head_size_without_kernels_is_refused():
    assert refusal("fa2", 96, 4, "bfloat16", False) == (
        "head_dim 96: FlashInfer's kernels exist for 64, 128 and 256"
    )


def test_a_group_without_a_decode_kernel_is_refused_there_alone():
    with pytest.raises(ValidationError, match="group_size 5: decode on CUDA cores exists for"):
        library(algorithm="decode", group_size=5)
    assert library(group_size=5).group_size == 5


def test_fa3_over_an_fp8_cache_refuses_a_soft_cap():
    with pytest.raises(ValidationError, match="soft_cap: FlashAttention 3 with an FP8 cache"):
        library(algorithm="fa3", kv_dtype="float8_e4m3fn", soft_cap=True)
    assert library(algorithm="fa3", soft_cap=True).soft_cap
