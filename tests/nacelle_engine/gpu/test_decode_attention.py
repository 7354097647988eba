"""Decode attention against its formula: shapes, splits, caches, what is never read."""

import pytest
import torch
from interpreted import run
from paged_step import spoil, step

from nacelle_engine.arch import Architecture
from nacelle_engine.errors import CompileFailed, UnsupportedModel
from nacelle_engine.ops.gpu import decode_attention
from nacelle_engine.ops.gpu.attention_shape import AttentionShape
from nacelle_engine.ops.gpu.block_scales import dequantised, quantised
from nacelle_engine.ops.gpu.decode_attention import Choice, workspace

LENGTHS = (1, 0, 2, 33, 64, 131)


def shape(heads, kv_heads, dim, **variants):
    # The interpreter knows no dependent launch, which sm_89 has not.
    return AttentionShape(heads, kv_heads, dim, architecture=Architecture.SM_89, **variants)


def launch(model, choice, inputs, *, partial=None):
    """The kernel's result and its counters; inputs["kv"] is appended to."""
    kernel = decode_attention.kernel(model, choice)
    requests = inputs["qkv"].shape[0]
    floats, counts = workspace(model, choice, requests)
    tensors = {
        **inputs,
        "out": torch.full((requests, model.heads * model.head_dim), torch.nan).bfloat16(),
        "partial": torch.full((floats,), torch.nan) if partial is None else partial,
        "counters": torch.zeros(counts, dtype=torch.int32),
    }
    run(kernel, {name: tensors[name] for name in kernel.arguments}, R=requests)
    return tensors["out"], tensors["counters"]


def expected(model, inputs):
    """The formula's result over its own copy of the cache, and that cache."""
    kv = inputs["kv"].clone()
    names = ("qkv", "rope", "block_table", "seq_lens")
    qkv, rope, table, lengths = (inputs[name] for name in names)
    options = {name: inputs[name] for name in ("kv_scales", "q_norm", "k_norm")}
    found = decode_attention.reference(qkv, rope, kv, table, lengths, model, **options)
    return found, kv


def check(model, choice, lengths, seed=0):
    inputs = step(model, [(1, length) for length in lengths], seed=seed)
    spoil(inputs["kv"], inputs["block_table"], inputs["seq_lens"])
    wanted, cache = expected(model, inputs)
    found, counters = launch(model, choice, inputs)
    assert float((found.float() - wanted).norm() / wanted.norm()) < 4e-3
    # One step of the type: bf16 has 8 bits, E4M3 4.
    found, cache = (torch.nan_to_num(kv.float()) for kv in (inputs["kv"], cache))
    torch.testing.assert_close(found, cache, rtol=0.13 if model.fp8 else 8e-3, atol=2e-2)
    assert float((found != cache).float().mean()) < 1e-3
    assert not counters.any()


@pytest.mark.parametrize("fp8", [False, True])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim"), [(4, 4, 64), (6, 2, 96), (8, 2, 128), (16, 2, 16), (34, 2, 32)]
)
def test_it_is_the_formula(heads, kv_heads, dim, fp8):
    check(shape(heads, kv_heads, dim, fp8=fp8), Choice(32, 4, 32), LENGTHS)


CHOICES = [
    Choice(64, 1, 64),
    Choice(32, 8, 32),
    Choice(32, 2, 64),
    Choice(32, 4, 32, early=True),
    Choice(32, 1, 32, early=True),
]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"window": 40},
        {"soft_cap": 5.0},
        {"norm_eps": 1e-5},
        {"norm_eps": 1e-5, "rotary_dim": 48},
    ],
)
def test_every_variant_with_any_split(choice, variant):
    check(shape(6, 2, 64, **variant), choice, LENGTHS)


@pytest.mark.parametrize("choice", [Choice(32, 8, 32, early=True), Choice(16, 16, 16)])
@pytest.mark.parametrize("variant", [{}, {"norm_eps": 1e-5, "rotary_dim": 32}, {"fp8": True}])
def test_heads_of_any_size(choice, variant):
    check(shape(6, 2, 80, **variant), choice, LENGTHS)


@pytest.mark.parametrize("window", [1, 2, 32, 33, 500])
def test_a_window_counts_the_newest_position(window):
    check(shape(4, 2, 64, window=window, fp8=True), Choice(32, 4, 32), LENGTHS)


def test_scale_is_free():
    check(shape(4, 2, 64, scale=0.3, soft_cap=2.0), Choice(32, 2, 32), (70, 3))


def test_padding_gives_zeros_and_touches_nothing():
    model = shape(4, 2, 64)
    inputs = step(model, [(1, 40), (1, 0)])
    inputs["block_table"][1] = 10**6
    found, _ = launch(model, Choice(32, 4, 32), inputs)
    assert not found[1].any()
    assert found[0].any()


def test_a_row_is_the_same_in_any_batch():
    model, choice = shape(8, 2, 64), Choice(32, 4, 32)
    together = step(model, [(1, length) for length in LENGTHS])
    alone = {
        name: x[-1:] if name in ("qkv", "block_table", "seq_lens") else x
        for name, x in together.items()
    }
    alone["kv"] = together["kv"].clone()
    rows, _ = launch(model, choice, together)
    row, _ = launch(model, choice, alone)
    assert torch.equal(rows[-1:], row)


def test_short_contexts_use_no_workspace():
    model = shape(4, 2, 64)
    inputs = step(model, [(1, 33), (1, 20)])
    partial = torch.full(workspace(model, Choice(32, 4, 32), 2)[:1], 7.0)
    launch(model, Choice(32, 4, 32), inputs, partial=partial)
    assert bool((partial == 7).all())


def test_default_choices_follow_the_batch():
    llama = AttentionShape(32, 8, 128)
    defaults = [decode_attention.choices(llama, requests)[0] for requests in (1, 8, 128)]
    assert [(choice.splits, choice.least) for choice in defaults] == [(32, 64), (4, 64), (8, 512)]


@pytest.mark.parametrize("architecture", [Architecture.SM_89, Architecture.SM_90])
@pytest.mark.parametrize("requests", [1, 3, 8, 40, 256])
def test_choices_differ_and_take_whole_tiles(architecture, requests):
    found = decode_attention.choices(AttentionShape(8, 8, 256, architecture=architecture), requests)
    assert len(set(found)) == len(found) > 3
    assert all(choice.least % choice.keys == 0 for choice in found)


def test_fp8_needs_sm_89():
    with pytest.raises(CompileFailed) as caught:
        AttentionShape(4, 2, 64, fp8=True, architecture=Architecture.SM_80)
    assert str(caught.value) == (
        "quantization.kvCache: FP8 E4M3 needs sm_89 or later, the target is sm_80;"
        " set quantization.kvCache to NONE"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (4, 2, 72),
            "head_dim 72 is not supported on GPUs; multiples of 16 up to 256 are",
        ),
        (
            (4, 2, 272),
            "head_dim 272 is not supported on GPUs; multiples of 16 up to 256 are",
        ),
        (
            (4, 3, 64),
            "4 heads cannot share 3 KV heads evenly; the first must be a multiple of the second",
        ),
    ],
)
def test_a_shape_is_refused_by_name(arguments, message):
    with pytest.raises(UnsupportedModel) as caught:
        AttentionShape(*arguments)
    assert str(caught.value) == message


def codes_of(model, choice, result, tensors):
    """The FP8 result of one token a sequence of LENGTHS; its workspace is as clean as before."""
    kernel = decode_attention.kernel(model, choice, result=result)
    floats, counts = workspace(model, choice, len(LENGTHS))
    codes = torch.full((len(LENGTHS), model.heads * model.head_dim), 0x7F, dtype=torch.uint8)
    counters = torch.zeros(counts, dtype=torch.int32)
    tensors = {
        **tensors,
        "a_codes": codes.view(torch.float8_e4m3fn),
        "partial": torch.full((floats,), torch.nan),
        "counters": counters,
    }
    run(kernel, {name: tensors[name] for name in kernel.arguments}, R=len(LENGTHS))
    assert not counters.any()
    return codes.view(torch.float8_e4m3fn)


@pytest.mark.parametrize("choice", [Choice(64, 1, 64), Choice(16, 16, 16), CHOICES[-1]])
@pytest.mark.parametrize(("heads", "dim"), [(6, 64), (34, 32)])
def test_the_result_as_fp8_blocks(choice, heads, dim):
    model = shape(heads, 2, dim)
    inputs = step(model, [(1, length) for length in LENGTHS])
    wanted, _ = expected(model, inputs)
    scales = torch.full((2, 256), torch.nan)
    codes = codes_of(model, choice, "blocks", {**inputs, "a_scales": scales})
    _, wanted_scales = quantised(wanted, heads // 2 * dim)
    torch.testing.assert_close(scales[:, : len(LENGTHS)], wanted_scales, rtol=2e-3, atol=0)
    found = dequantised(codes, scales[:, : len(LENGTHS)])
    # E4M3 has 3 bits behind the point: at most 1/16 of an element, 2.6 % in the root mean square.
    assert float((found - wanted).norm() / wanted.norm()) < 0.035


@pytest.mark.parametrize("choice", [Choice(64, 1, 64), Choice(16, 16, 16), CHOICES[-1]])
@pytest.mark.parametrize(("heads", "dim"), [(6, 64), (34, 32)])
def test_the_result_as_fp8_with_a_static_scale(choice, heads, dim):
    model = shape(heads, 2, dim)
    inputs = step(model, [(1, length) for length in LENGTHS])
    wanted, _ = expected(model, inputs)
    # Some values are beyond what the scale can hold.
    scale = wanted.abs().max()[None] / 600
    codes = codes_of(model, choice, "static", {**inputs, "static_scale": scale})
    found = codes.float() * scale
    wanted = wanted.clamp(-448 * scale, 448 * scale)
    assert float((found - wanted).norm() / wanted.norm()) < 0.035
