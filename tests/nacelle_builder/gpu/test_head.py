"""The head's places: who may make the logits of how many rows."""

import families
import pytest
from tiny_llama import SPEC

from nacelle_builder.compile.gpu.head import head_places
from nacelle_builder.compile.gpu.lower import lower
from nacelle_builder.compile.gpu.place import HeadProduct, kernels_of
from nacelle_builder.compile.gpu.places import places
from nacelle_builder.compile.gpu.tactics import decide
from nacelle_engine.limits import Limits
from nacelle_engine.model.family import read_spec
from nacelle_engine.precision import Quantization
from nacelle_engine.program.launch import Binding, LaunchList, LogitsLaunch
from nacelle_engine.recipe import Recipe

LIMITS = Limits(max_batch_size=160, max_input_len=100, max_seq_len=128, max_num_tokens=2000)


def recipe_of(quantization=None, **more):
    given = quantization or Quantization(algorithm="FP8_PER_CHANNEL_PER_TOKEN")
    return Recipe(architecture="sm_90", quantization=given, limits=LIMITS, **more)


def product_of(place):
    """The candidate that is a library's product; None where there is none."""
    made = (c for c in place.candidates if isinstance(c.kernel, HeadProduct))
    return next(made, None)


def lowered(recipe, spec=SPEC):
    """The launches with the library wherever it may be."""
    every = places(spec, recipe)
    products = {number: product_of(place) for number, place in enumerate(every)}
    times = {number: {one.kernel.name: 1} for number, one in products.items() if one}
    return lower(spec, recipe, decide(every, times, "no GPU")[0])


def test_from_65_rows_on_the_library_is_a_candidate_after_our_own():
    made = head_places(SPEC, recipe_of())
    offered = {place.last: product_of(place) is not None for place in made}
    assert offered == {
        **dict.fromkeys((1, 2, 4, 8, 16, 32, 64), False),
        **dict.fromkeys((128, 256, 512, 2000), True),
    }
    # Without a GPU the first is taken.
    assert not any(isinstance(place.candidates[0].kernel, HeadProduct) for place in made)


@pytest.mark.parametrize(
    ("spec", "recipe"),
    [
        (SPEC, recipe_of(determinism="BatchInvariant")),
        (SPEC, recipe_of(Quantization(algorithm="FP8_PER_CHANNEL_PER_TOKEN", lm_head="FP8"))),
        (read_spec(families.config_of("gemma2")), recipe_of()),
    ],
    ids=["BatchInvariant", "FP8 head", "soft cap"],
)
def test_some_heads_keep_our_own_kernel(spec, recipe):
    assert not any(product_of(place) for place in head_places(spec, recipe))
    assert "normed_rows" not in [buffer.name for buffer in lowered(recipe, spec).buffers]


def test_its_rows_are_normed_and_then_multiplied():
    made = lowered(recipe_of())
    launches = LaunchList(kernels=(), buffers=made.buffers, steps=made.steps, heads=made.heads)
    assert LaunchList.model_validate_json(launches.model_dump_json(by_alias=True)) == launches
    for rows in (65, 128, 300, 2000):
        norm, product = launches.heads[launches.head_index(rows)].launches
        assert norm.kernel.startswith("norm_gather") and norm.kernel in {
            kernel.name for kernel in made.kernels
        }
        assert product == LogitsLaunch(
            x=Binding(source="buffer", name="normed_rows"),
            weight=Binding(source="weight", name="lm_head"),
            out=Binding(source="output", name="logits"),
        )
    assert len(launches.heads[launches.head_index(64)].launches) == 1
    (rows,) = [buffer for buffer in made.buffers if buffer.name == "normed_rows"]
    assert [size.of({"L": 2000}) for size in rows.shape] == [2000, SPEC.hidden_size]


def test_a_product_s_norm_is_compiled_under_its_own_name():
    place = head_places(SPEC, recipe_of())[-1]
    product = product_of(place)
    assert list(kernels_of([product])) == [product.kernel.rows.name]
    assert product.kernel.name == f"library_after_{product.kernel.rows.name}"
