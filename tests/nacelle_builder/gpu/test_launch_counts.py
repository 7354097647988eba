"""Launches a layer of a decode step: every algorithm, every batch, by table."""

import families
import pytest
from tiny_llama import BLOCK_SPEC, SPEC

from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_engine.limits import Limits
from nacelle_engine.model.family import read_spec
from nacelle_engine.precision import Quantization
from nacelle_engine.program.launch import KernelLaunch, LaunchList, MatmulLaunch
from nacelle_engine.recipe import Recipe

LIMITS = Limits(max_batch_size=300, max_input_len=100, max_seq_len=128, max_num_tokens=700)
TOKEN, STATIC, NONE = "FP8_PER_CHANNEL_PER_TOKEN", "FP8", "NONE"
BIASED = read_spec(families.config_of("qwen3-biased"))
GEMMA = read_spec(families.config_of("gemma2"))


def launches_of(spec, algorithm, architecture="sm_90", **more):
    recipe = Recipe(
        architecture=architecture,
        quantization=Quantization(algorithm=algorithm),
        limits=LIMITS,
        **more,
    )
    made = lower(spec, recipe, decide(places(spec, recipe), {}, "no GPU")[0])
    return LaunchList(kernels=(), buffers=made.buffers, steps=made.steps, heads=made.heads)


def counts(launches):
    """[(last batch, launches a layer)] of decode steps, one entry for each run of equal counts."""
    found = []
    for batch in range(1, LIMITS.max_batch_size + 1):
        step = launches.steps[launches.step_index(batch, decode=True)]
        (count,) = {len(layer) for layer in step.kinds.values()}
        if found and found[-1][1] == count:
            found.pop()
        found.append((batch, count))
    return found


# At most 5 at batch 1, 7 with static scales, 9 with a scale a token; a family that norms what its
# blocks give (Gemma) has two more everywhere.
@pytest.mark.parametrize(
    ("spec", "algorithm", "found"),
    [
        (BLOCK_SPEC, TOKEN, [(64, 5), (300, 9)]),
        (BLOCK_SPEC, STATIC, [(64, 5), (300, 7)]),
        (BLOCK_SPEC, NONE, [(300, 5)]),
        (SPEC, TOKEN, [(16, 5), (300, 9)]),
        (SPEC, STATIC, [(16, 5), (300, 7)]),
        (SPEC, NONE, [(300, 5)]),
        (BIASED, TOKEN, [(16, 5), (300, 9)]),
        (BIASED, STATIC, [(16, 5), (300, 7)]),
        (BIASED, NONE, [(300, 5)]),
        (GEMMA, TOKEN, [(16, 7), (300, 11)]),
        (GEMMA, STATIC, [(16, 7), (300, 9)]),
        (GEMMA, NONE, [(300, 7)]),
    ],
)
@pytest.mark.parametrize("architecture", ["sm_89", "sm_90", "sm_100"])
def test_launches_a_layer(spec, algorithm, found, architecture):
    assert counts(launches_of(spec, algorithm, architecture)) == found


@pytest.mark.parametrize("algorithm", [TOKEN, STATIC, NONE])
def test_without_fp8_products_every_batch_is_five_launches(algorithm):
    assert counts(launches_of(SPEC, algorithm, "sm_80")) == [(300, 5)]


def test_batch_invariant_steps_append_to_the_cache_in_a_launch_more():
    assert counts(launches_of(SPEC, TOKEN, determinism="BatchInvariant")) == [(300, 6)]


def test_with_static_scales_what_makes_an_input_writes_its_codes():
    launches = launches_of(SPEC, STATIC)
    layer = launches.steps[launches.step_index(128, decode=True)].kinds["layer.full"]
    names = [
        one.weight.name if isinstance(one, MatmulLaunch) else one.kernel.split("_silu")[0]
        for one in layer
    ]
    assert names[0] == "qkv" and names[1].startswith("decode_attention_") and "_static_" in names[1]
    assert names[2] == "dense" and names[4:6] == ["static_gate_up", "down"]
    written = [
        binding.name
        for one in layer
        if isinstance(one, KernelLaunch)
        for binding in one.arguments
        if binding.source == "buffer" and binding.name.endswith("_codes")
    ]
    hidden = "hidden_codes"
    assert written == ["attention_codes", hidden, hidden, "inner_codes", hidden]


def test_a_hidden_size_that_no_product_of_ours_takes_leaves_it_to_the_library():
    spec = SPEC.model_copy(update={"hidden_size": 144})
    assert counts(launches_of(spec, STATIC)) == [(16, 5), (300, 8)]


def test_mixed_steps_with_static_scales_are_as_they_were():
    launches = launches_of(SPEC, STATIC)
    step = launches.steps[launches.step_index(128, decode=False)]
    assert {len(layer) for layer in step.kinds.values()} == {10}
