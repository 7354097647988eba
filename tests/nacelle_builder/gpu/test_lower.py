"""Lowering: ranges without gaps, few launches a layer, nothing that grows with depth."""

from itertools import pairwise

import pytest
from tiny_llama import SPEC

from nacelle_builder.compile.gpu.lower import KIND, lower
from nacelle_builder.compile.gpu.places import places, ranges
from nacelle_builder.compile.gpu.signature import signature_of
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_builder.numerics import numerics
from nacelle_engine.limits import Limits
from nacelle_engine.precision import Quantization, QuantizationAlgorithm
from nacelle_engine.program.launch import KernelLaunch, LaunchList
from nacelle_engine.recipe import Recipe

LIMITS = Limits(max_batch_size=160, max_input_len=100, max_seq_len=128, max_num_tokens=700)
FP8 = QuantizationAlgorithm.FP8_PER_CHANNEL_PER_TOKEN


def recipe_of(architecture="sm_90", algorithm=FP8, limits=LIMITS):
    quantization = Quantization(algorithm=algorithm)
    return Recipe(architecture=architecture, quantization=quantization, limits=limits)


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
@pytest.mark.parametrize("algorithm", [FP8, QuantizationAlgorithm.NONE])
def test_every_size_of_step_has_its_launches(architecture, algorithm):
    recipe = recipe_of(architecture, algorithm)
    launches = as_list(lowered(recipe))
    for tokens in range(1, 701):
        for decode in (False, True):
            if decode and tokens > 160:
                continue
            chosen = launches.steps[launches.step_index(tokens, decode)]
            assert chosen.min_tokens <= tokens <= chosen.max_tokens
            assert chosen.decode == decode
            quantised = algorithm == FP8 and architecture != "sm_80" and tokens > 128
            assert chosen.numerics == ("quantised" if quantised else "fused")
        assert launches.head_index(tokens) >= 0
    told = numerics(recipe)
    assert told[0].min_tokens == 1 and told[-1].max_tokens == 700
    assert len(told) == (2 if algorithm == FP8 and architecture != "sm_80" else 1)


def test_a_decode_layer_is_five_launches():
    launches = as_list(lowered(recipe_of()))
    counts = {
        (tokens, decode): len(launches.steps[launches.step_index(tokens, decode)].kinds[KIND])
        for tokens in (1, 150)
        for decode in (True, False)
    }
    assert counts == {(1, True): 5, (1, False): 6, (150, True): 9, (150, False): 10}


def test_depth_changes_nothing():
    deep = SPEC.model_copy(update={"num_layers": 80})
    assert as_list(lowered(recipe_of(), deep)) == as_list(lowered(recipe_of()))


@pytest.mark.parametrize("algorithm", [FP8, QuantizationAlgorithm.NONE])
def test_every_name_that_a_launch_binds_is_there(algorithm):
    recipe = recipe_of(algorithm=algorithm)
    one = lowered(recipe)
    signature = signature_of(SPEC, recipe)
    buffers = {buffer.name for buffer in one.buffers}
    kernels = {kernel.name: kernel for kernel in one.kernels}
    programs = {
        "embed": signature.embed,
        "head": signature.head,
        KIND: signature.kinds[0],
    }
    lists = [("head", head.launches) for head in one.heads]
    for step in one.steps:
        lists += [("embed", step.embed), (KIND, step.kinds[KIND]), ("embed", step.finish)]
    for program, launches in lists:
        weights = {spec.name for spec in programs[program].weights}
        for launch in launches:
            bound = (
                launch.arguments
                if isinstance(launch, KernelLaunch)
                else [getattr(launch, name) for name in type(launch).model_fields if name != "call"]
            )
            for binding in bound:
                known = {"buffer": buffers, "weight": weights}.get(binding.source)
                assert known is None or binding.name in known, (launch, binding)
            if isinstance(launch, KernelLaunch):
                assert len(launch.arguments) == len(kernels[launch.kernel].arguments)


def test_the_list_survives_json():
    launches = as_list(lowered(recipe_of()))
    assert LaunchList.model_validate_json(launches.model_dump_json(by_alias=True)) == launches
