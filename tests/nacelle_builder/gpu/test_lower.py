"""Lowering: ranges without gaps, few launches a layer, nothing that grows with depth."""

from itertools import pairwise

import families
import pytest
from tiny_llama import BLOCK_SPEC, SPEC

from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.place import ranges
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_builder.numerics import BLOCK_TOKENS, FUSED_TOKENS, numerics
from nacelle_builder.request_checks import check_model
from nacelle_engine.errors import UnsupportedModel
from nacelle_engine.limits import Limits
from nacelle_engine.model.family import read_spec
from nacelle_engine.precision import Quantization, QuantizationAlgorithm
from nacelle_engine.program.launch import KernelLaunch, LaunchList, MatmulLaunch
from nacelle_engine.recipe import Recipe

KIND = "layer.full"
GEMMA = read_spec(families.config_of("gemma2"))
SLIDING = BLOCK_SPEC.model_copy(
    update={"layer_types": ("sliding", "full"), "sliding_window": 45, "qk_norm": True}
)
BIASED = read_spec(families.config_of("qwen3-biased"))
LIMITS = Limits(max_batch_size=160, max_input_len=100, max_seq_len=128, max_num_tokens=700)
FP8 = QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN
STATIC = QuantizationAlgorithm.FP8


def recipe_of(architecture="sm_90", algorithm=FP8, limits=LIMITS, kv_cache="NONE", **more):
    quantization = Quantization(algorithm=algorithm, kv_cache=kv_cache)
    return Recipe(architecture=architecture, quantization=quantization, limits=limits, **more)


def lowered(recipe, spec=SPEC):
    return lower(spec, recipe, decide(places(spec, recipe), {}, "no GPU")[0])


def as_list(one):
    return LaunchList(kernels=(), buffers=one.buffers, steps=one.steps, heads=one.heads)


@pytest.mark.parametrize("limit", [1, 2, 7, 8, 128, 129, 5000])
def test_ranges_have_no_gap(limit):
    made = ranges(limit)
    assert made[0][0] == 1 and made[-1][1] == limit
    assert all(end + 1 == first for (_, end), (first, _) in pairwise(made))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_89", "sm_90", "sm_100"])
@pytest.mark.parametrize("algorithm", [FP8, STATIC, QuantizationAlgorithm.NONE])
def test_every_size_of_step_has_its_launches(architecture, algorithm):
    recipe = recipe_of(architecture, algorithm)
    launches = as_list(lowered(recipe))
    has_quantised = algorithm in (FP8, STATIC) and architecture != "sm_80"
    for tokens in range(1, 701):
        for decode in (False, True):
            if decode and tokens > 160:
                continue
            chosen = launches.steps[launches.step_index(tokens, decode)]
            assert chosen.min_tokens <= tokens <= chosen.max_tokens
            assert chosen.decode == decode
            quantised = has_quantised and tokens > FUSED_TOKENS
            assert chosen.numerics == ("quantised" if quantised else "fused")
        assert launches.head_index(tokens) >= 0
    told = numerics(SPEC, recipe)
    assert told[0].min_tokens == 1 and told[-1].max_tokens == 700
    assert len(told) == (2 if has_quantised else 1)


def test_a_decode_layer_is_five_launches():
    launches = as_list(lowered(recipe_of()))
    counts = {
        (tokens, decode): len(launches.steps[launches.step_index(tokens, decode)].kinds[KIND])
        for tokens in (1, 150)
        for decode in (True, False)
    }
    assert counts == {(1, True): 5, (1, False): 6, (150, True): 9, (150, False): 10}


@pytest.mark.parametrize("architecture", ["sm_89", "sm_90", "sm_100"])
def test_decode_batches_are_five_launches_over_blocks(architecture):
    recipe = recipe_of(architecture)
    launches = as_list(lowered(recipe, BLOCK_SPEC))
    for tokens in range(1, 161):
        chosen = launches.steps[launches.step_index(tokens, decode=True)]
        blocks = 2 <= tokens <= BLOCK_TOKENS
        assert (chosen.numerics == "block") == blocks
        assert len(chosen.kinds[KIND]) == (5 if tokens <= BLOCK_TOKENS else 9)
        assert len(chosen.embed) == (1 if tokens == 1 else 2)
        mixed = launches.steps[launches.step_index(tokens, decode=False)]
        assert mixed.numerics == ("fused" if tokens <= FUSED_TOKENS else "quantised")
    told = numerics(BLOCK_SPEC, recipe)
    assert [(one.min_tokens, one.max_tokens, one.decode) for one in told] == [
        (2, BLOCK_TOKENS, True),
        (1, FUSED_TOKENS, False),
        (FUSED_TOKENS + 1, 700, False),
    ]
    assert "per token and block of 128" in told[0].activations


@pytest.mark.parametrize(
    ("architecture", "algorithm", "changed"),
    [
        ("sm_80", FP8, {}),
        ("sm_90", QuantizationAlgorithm.NONE, {}),
        ("sm_90", FP8, {"hidden_size": 192}),
        ("sm_90", FP8, {"intermediate_size": 320}),
        ("sm_90", FP8, {"num_kv_heads": 4}),
    ],
)
def test_no_step_is_over_blocks_where_they_do_not_fit(architecture, algorithm, changed):
    recipe = recipe_of(architecture, algorithm)
    spec = BLOCK_SPEC.model_copy(update=changed)
    assert not any(step.numerics == "block" for step in lowered(recipe, spec).steps)
    assert not any(one.decode for one in numerics(spec, recipe))


def test_one_request_at_a_time_needs_no_blocks():
    recipe = recipe_of(limits=LIMITS.model_copy(update={"max_batch_size": 1}))
    assert not any(step.numerics == "block" for step in lowered(recipe, BLOCK_SPEC).steps)


def test_each_layer_makes_blocks_for_the_norm_after_it():
    signature = signature_of(BLOCK_SPEC, recipe_of())
    weights = {spec.name: spec for spec in signature.kinds[0].weights}
    following = weights["next_norm"]
    (first,) = [spec for spec in signature.embed.weights if spec.name == "first_norm"]
    inputs = [weights["input_norm"].names(layer, last=False) for layer in range(3)]
    assert first.names(0, last=False) == inputs[0]
    assert [following.names(layer, last=False) for layer in range(2)] == inputs[1:]
    assert following.names(1, last=True) == ("transformer.ln_f.weight",)


def test_static_scales_are_one_number_on_both_sides_of_a_product():
    recipe = recipe_of(algorithm=STATIC)
    launches = as_list(lowered(recipe))
    shapes = {spec.name: spec.shape for spec in signature_of(SPEC, recipe).kinds[0].weights}
    layer = launches.steps[launches.step_index(150, decode=False)].kinds[KIND]
    products = [launch for launch in layer if isinstance(launch, MatmulLaunch)]
    assert len(products) == 4
    for product in products:
        assert shapes[product.x_scale.name] == shapes[product.weight_scale.name] == (1,)
    assert "row_scale" not in {buffer.name for buffer in launches.buffers}
    assert numerics(SPEC, recipe)[1].weights == "float8_e4m3fn per tensor"
    assert numerics(SPEC, recipe)[1].activations == "float8_e4m3fn static"


def test_scales_of_tokens_and_outputs_are_left_to_who_reads_the_product():
    found = {}
    for name, spec in (("llama", SPEC), ("biased", BIASED), ("gemma", GEMMA)):
        launches = as_list(lowered(recipe_of(), spec))
        layer = launches.steps[launches.step_index(150, decode=True)].kinds[KIND]
        products = [launch for launch in layer if isinstance(launch, MatmulLaunch)]
        found[name] = {one.weight.name: one.x_scale is None for one in products}
        assert all((one.x_scale is None) == (one.weight_scale is None) for one in products)
        kernels = [launch.kernel for launch in layer if isinstance(launch, KernelLaunch)]
        assert sum("_raw_" in kernel for kernel in kernels) == (3 if name == "llama" else 0)
    raw = {"qkv": False, "dense": True, "gate_up": True, "down": True}
    never = dict.fromkeys(raw, False)
    assert found == {"llama": raw, "biased": never, "gemma": never}


def test_each_layer_quantises_with_the_scale_of_the_linear_after_it():
    signature = signature_of(SPEC, recipe_of(algorithm=STATIC))
    weights = {spec.name: spec for spec in signature.kinds[0].weights}
    following = weights["next_qkv_input_scale"]
    (first,) = [spec for spec in signature.embed.weights if spec.name == "first_qkv_input_scale"]
    inputs = [weights["qkv_input_scale"].names(layer, last=False) for layer in range(2)]
    assert first.names(0, last=False) == inputs[0]
    assert following.names(0, last=False) == inputs[1]
    assert following.names(1, last=True) == inputs[0]


def test_an_fp8_cache_is_in_the_signature():
    signature = signature_of(SPEC, recipe_of(kv_cache="FP8"))
    (kv,) = signature.kinds[0].state
    assert kv.dtype == "float8_e4m3fn"
    (scales,) = [one for one in signature.kinds[0].weights if one.name == "kv_scales"]
    assert scales.sources == (
        "transformer.layers.{layer}.attention.k_cache_scaling_factor",
        "transformer.layers.{layer}.attention.v_cache_scaling_factor",
    )


@pytest.mark.parametrize("algorithm", [FP8, STATIC, QuantizationAlgorithm.NONE])
def test_no_buffer_is_listed_twice(algorithm):
    names = [one.name for one in lowered(recipe_of(algorithm=algorithm), BLOCK_SPEC).buffers]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("spec", [BLOCK_SPEC, GEMMA], ids=["llama", "gemma2"])
def test_batch_invariant_steps_are_all_the_same_launches(architecture, spec):
    recipe = recipe_of(architecture, determinism="BatchInvariant")
    made = lowered(recipe, spec)
    launches = as_list(made)
    assert len(launches.steps) == len(launches.heads) == 1
    (step,) = launches.steps
    assert (step.min_tokens, step.max_tokens, step.decode) == (1, 700, False)
    assert step.numerics == "fused" and step.query_tile
    calls = [*step.embed, *(one for layer in step.kinds.values() for one in layer)]
    assert all(isinstance(call, KernelLaunch) for call in calls)
    assert all(kernel.constants.get("SPLIT", 1) == 1 for kernel in made.kernels)
    (told,) = numerics(spec, recipe)
    assert (told.min_tokens, told.max_tokens, told.activations) == (1, 700, "bfloat16")


def test_each_kind_of_layer_has_its_attention():
    made = lowered(recipe_of(), GEMMA)
    for step in made.steps:
        full, sliding = (step.kinds[f"layer.{kind}"] for kind in ("full", "sliding"))
        differing = [(a, b) for a, b in zip(full, sliding, strict=True) if a != b]
        assert len(differing) == 1
        assert all("_window45_" in b.kernel and "window" not in a.kernel for a, b in differing)
    assert len({kernel.name for kernel in made.kernels}) == len(made.kernels)


def test_kinds_share_all_but_their_attention_over_blocks():
    launches = as_list(lowered(recipe_of(), SLIDING))
    step = launches.steps[launches.step_index(16, decode=True)]
    assert step.numerics == "block"
    pairs = zip(step.kinds["layer.full"], step.kinds["layer.sliding"], strict=True)
    assert [a == b for a, b in pairs] == [True, False, True, True, True]


@pytest.mark.parametrize("spec", [GEMMA, BIASED], ids=["gemma2", "biased"])
def test_biases_and_output_norms_need_other_classes_than_blocks(spec):
    sizes = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 128}
    steps = lowered(recipe_of(), spec.model_copy(update=sizes)).steps
    assert {step.numerics for step in steps} == {"fused", "quantised"}


def test_a_head_that_no_kernel_takes_is_refused_before_any_work():
    with pytest.raises(UnsupportedModel, match="head_dim 272 is not supported on GPUs"):
        check_model(recipe_of(), SPEC.model_copy(update={"head_dim": 272}))


def test_a_window_that_nothing_outgrows_is_none():
    short = LIMITS.model_copy(update={"max_input_len": 30, "max_seq_len": 45})
    made = lowered(recipe_of(limits=short), GEMMA)
    assert not any("window" in kernel.name for kernel in made.kernels)


def test_output_norms_are_a_launch_each():
    launches = as_list(lowered(recipe_of(), GEMMA))
    counts = {
        (tokens, decode): {
            len(layer)
            for layer in launches.steps[launches.step_index(tokens, decode)].kinds.values()
        }
        for tokens, decode in ((1, True), (10, True), (20, True), (150, False))
    }
    assert counts == {(1, True): {7}, (10, True): {7}, (20, True): {11}, (150, False): {12}}


def test_biases_are_added_by_the_product():
    launches = as_list(lowered(recipe_of(), BIASED))
    layer = launches.steps[launches.step_index(150, decode=False)].kinds[KIND]
    found = {one.weight.name: one.bias for one in layer if isinstance(one, MatmulLaunch)}
    assert {name: bias and bias.name for name, bias in found.items()} == {
        "qkv": "qkv_bias",
        "dense": "dense_bias",
        "gate_up": None,
        "down": None,
    }


def test_depth_changes_nothing():
    deep = SPEC.model_copy(update={"num_layers": 80})
    assert as_list(lowered(recipe_of(), deep)) == as_list(lowered(recipe_of()))


@pytest.mark.parametrize("spec", [SPEC, BLOCK_SPEC, SLIDING, GEMMA, BIASED])
@pytest.mark.parametrize("kv_cache", ["FP8", "NONE"])
@pytest.mark.parametrize("algorithm", [FP8, STATIC, QuantizationAlgorithm.NONE])
def test_every_name_that_a_launch_binds_is_there(algorithm, kv_cache, spec):
    recipe = recipe_of(algorithm=algorithm, kv_cache=kv_cache)
    one = lowered(recipe, spec)
    signature = signature_of(spec, recipe)
    buffers = {buffer.name for buffer in one.buffers}
    kernels = {kernel.name: kernel for kernel in one.kernels}
    programs = {
        "embed": signature.embed,
        "head": signature.head,
        **{kind.name: kind for kind in signature.kinds},
    }
    lists = [("head", head.launches) for head in one.heads]
    for step in one.steps:
        lists += [("embed", step.embed), *step.kinds.items()]
    for program, launches in lists:
        weights = {weight.name for weight in programs[program].weights}
        for launch in launches:
            bound = (
                launch.arguments
                if isinstance(launch, KernelLaunch)
                else [value for name, value in launch if name != "call" and value is not None]
            )
            for binding in bound:
                known = {"buffer": buffers, "weight": weights}.get(binding.source)
                assert known is None or binding.name in known, (launch, binding)
            if isinstance(launch, KernelLaunch):
                assert len(launch.arguments) == len(kernels[launch.kernel].arguments)


def test_the_list_survives_json():
    launches = as_list(lowered(recipe_of()))
    assert LaunchList.model_validate_json(launches.model_dump_json(by_alias=True)) == launches
