"""Which layers may have a library for their prompts, and how a launch list takes it."""

from pathlib import Path

import families
import pytest
from tiny_llama import SPEC

from nacelle_builder.compile.gpu.attention import attention_shape
from nacelle_builder.compile.gpu.flashinfer_library import Kit, attention_library
from nacelle_builder.compile.gpu.flashinfer_sources import Headers
from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.nvcc import Toolkit
from nacelle_builder.compile.gpu.place import libraries_of
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.prompt_attention import TOKENS_A_REQUEST, offer, refused
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_engine.errors import CompileFailed
from nacelle_engine.limits import Limits
from nacelle_engine.model.family import read_spec
from nacelle_engine.precision import Quantization
from nacelle_engine.program.launch import KernelLaunch, LaunchList, PagedAttentionLaunch
from nacelle_engine.recipe import Recipe

LIMITS = Limits(max_batch_size=300, max_input_len=400, max_seq_len=512, max_num_tokens=2000)
LLAMA = SPEC.model_copy(update={"head_dim": 64, "query_pre_attn_scalar": 64})
GEMMA = read_spec(families.config_of("gemma2")).model_copy(
    update={"head_dim": 64, "query_pre_attn_scalar": 64}
)
KIT = Kit(Toolkit(Path("/cuda")), Headers(Path("/data"), Path("/ffi")), {"apache-tvm-ffi": "0.1"})


def recipe_of(architecture="sm_90", limits=LIMITS, kv_cache="NONE", **more):
    quantization = Quantization(algorithm="FP8_PER_CHANNEL_PER_TOKEN", kv_cache=kv_cache)
    return Recipe(architecture=architecture, quantization=quantization, limits=limits, **more)


def lowered(recipe, spec=LLAMA, *, chosen=True):
    """The list with libraries that stand in for compiled ones, chosen wherever they are offered."""
    made = {
        kind.name: attention_library(attention_shape(spec, kind, recipe), "fa3")
        for kind in spec.kinds
    }
    every = places(spec, recipe, made)
    times = {
        number: {library.name: 1}
        for number, place in enumerate(every)
        for library in libraries_of(place.candidates)
    }
    return lower(spec, recipe, decide(every, times if chosen else {}, "timed")[0])


@pytest.mark.parametrize(
    ("spec", "recipe", "reason"),
    [
        ({}, {}, None),
        ({}, {"kv_cache": "FP8"}, None),
        ({"head_dim": 128, "query_pre_attn_scalar": 128}, {}, None),
        ({"qkv_bias": True}, {}, None),
        ({"attention_soft_cap": 30.0}, {}, None),
        ({"sliding_window": 64, "layer_types": ("sliding", "sliding")}, {"kv_cache": "FP8"}, None),
        ({"head_dim": 96}, {}, "head_dim 96: FlashInfer's kernels exist for 64, 128 and 256"),
        (
            {"attention_soft_cap": 30.0},
            {"kv_cache": "FP8"},
            "soft_cap: FlashAttention 3 with an FP8 cache has no soft cap; fa2 has",
        ),
        (
            {"qkv_bias": True},
            {"kv_cache": "FP8"},
            "an FP8 cache needs FP8 queries, which a bias may exceed",
        ),
        (
            {},
            {"architecture": "sm_100"},
            "FlashAttention 3 is for sm_90, the target is sm_100",
        ),
        (
            {},
            {"determinism": "BatchInvariant"},
            "BatchInvariant: its tiles and sums follow the batch",
        ),
        (
            {},
            {"limits": LIMITS.model_copy(update={"max_batch_size": 8, "max_num_tokens": 256})},
            "no step is above the 256 tokens that graphs may hold",
        ),
    ],
)
def test_who_may_have_it(spec, recipe, reason):
    model = LLAMA.model_copy(update=spec)
    assert refused(model, model.kinds[0], recipe_of(**recipe)) == reason


def test_without_a_compiler_the_reason_is_what_lacks():
    def nothing():
        raise CompileFailed("cu13 lacks nvidia-cuda-nvcc: install the extra")

    made = offer(LLAMA, recipe_of(), nothing)
    assert not made.libraries
    assert made.told(()) == (
        "our own kernels alone: cu13 lacks nvidia-cuda-nvcc: install the extra"
    )


def test_a_refused_model_looks_for_no_compiler():
    made = offer(LLAMA, recipe_of("sm_89"), lambda: pytest.fail("it looked"))
    assert made.told(()) == (
        "our own kernels alone for full layers: FlashAttention 3 is for sm_90, the target is sm_89"
    )


def test_what_became_of_an_offer_is_told():
    made = offer(LLAMA, recipe_of(), lambda: KIT)
    library = made.libraries["full"]
    assert made.abi == "cudart13-tvm_ffi0.1"
    assert made.told([library]) == "attention-fa3-d64-g2-bf16 serves"
    assert made.told([]) == ("attention-fa3-d64-g2-bf16 is not the quickest, or was not timed")


@pytest.mark.parametrize("kv_cache", ["NONE", "FP8"])
@pytest.mark.parametrize("algorithm", ["FP8_PER_CHANNEL_PER_TOKEN", "NONE"])
def test_only_steps_of_prompts_beyond_graphs_take_it(algorithm, kv_cache):
    recipe = recipe_of().model_copy(
        update={"quantization": Quantization(algorithm=algorithm, kv_cache=kv_cache)}
    )
    made = lowered(recipe)
    planned = [step for step in made.steps if step.planned]
    assert {257, 1025} <= {one.min_tokens for one in planned}
    assert {1024, 2000} <= {one.max_tokens for one in planned}
    assert {one.tokens_a_request for one in planned} == {TOKENS_A_REQUEST}
    assert not any(step.decode or step.query_tile for step in planned)
    launches = LaunchList(kernels=(), buffers=(), steps=made.steps, heads=made.heads)
    for tokens in range(1, 2001):
        assert launches.steps[launches.step_index(tokens, False, 1)].planned == (tokens > 256)
        assert not launches.steps[launches.step_index(tokens, False, tokens // 4 + 1)].planned
        if tokens <= LIMITS.max_batch_size:
            assert launches.steps[launches.step_index(tokens, True, tokens)].decode


def test_an_fp8_cache_takes_the_queries_in_fp8():
    made = lowered(recipe_of(kv_cache="FP8"))
    layer = next(step for step in made.steps if step.planned).kinds["layer.full"]
    (place,) = [n for n, one in enumerate(layer) if isinstance(one, PagedAttentionLaunch)]
    append, call = layer[place - 1], layer[place]
    assert append.kernel.startswith("rope_append_4x2x64_fp8_") and "_codes_" in append.kernel
    assert append.arguments[-1].name == call.q.name == "q_codes"
    assert call.kv_scales.name == "kv_scales"
    assert (call.out.name, call.scale) == ("attention", 0.125)
    assert made.buffers[[one.name for one in made.buffers].index("q_codes")].dtype == (
        "float8_e4m3fn"
    )


def test_what_is_not_chosen_leaves_no_trace():
    made = lowered(recipe_of(kv_cache="FP8"), chosen=False)
    assert made.libraries == ()
    assert not any("_codes_" in kernel.name for kernel in made.kernels)
    assert "q_codes" not in {buffer.name for buffer in made.buffers}


def test_every_kernel_that_is_compiled_is_launched():
    made = lowered(recipe_of(kv_cache="FP8"))
    lists = [layer for step in made.steps for layer in (step.embed, *step.kinds.values())]
    lists += [head.launches for head in made.heads]
    launched = {one.kernel for some in lists for one in some if isinstance(one, KernelLaunch)}
    assert launched == {kernel.name for kernel in made.kernels}


def test_each_kind_has_its_library_window_and_cap():
    made = lowered(recipe_of(), GEMMA)
    step = next(step for step in made.steps if step.planned)
    calls = {
        name: next(one for one in layer if isinstance(one, PagedAttentionLaunch))
        for name, layer in step.kinds.items()
    }
    full, sliding = calls["layer.full"], calls["layer.sliding"]
    assert (full.library, full.window) == ("attention-fa3-d64-g3-bf16-cap", 0)
    assert (sliding.library, sliding.window) == ("attention-fa3-d64-g3-bf16-window-cap", 45)
    assert full.soft_cap == sliding.soft_cap == 5.0
    assert {one.name for one in made.libraries} == {full.library, sliding.library}
