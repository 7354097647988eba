"""Keys: what changes them and what must not."""

import pytest
from pydantic import ValidationError

from nacelle_engine.arch import Architecture
from nacelle_engine.calibration import Calibration
from nacelle_engine.canonical import canonical_json
from nacelle_engine.limits import Limits
from nacelle_engine.precision import Quantization
from nacelle_engine.recipe import Recipe, Toolchain, engine_key, request_key

RECIPE = Recipe(architecture=Architecture.X86_64_V3)
TOOLS = Toolchain(builder_image="builder:1")
SOURCE = {"repo": "a/b", "revision": "0" * 40}


def test_canonical_json_has_one_spelling():
    assert canonical_json({"b": [1, "é"], "a": None}) == '{"a":null,"b":[1,"é"]}'.encode()
    with pytest.raises(TypeError, match=r"\$\.a\[0\] is a float"):
        canonical_json({"a": [0.5]})


@pytest.mark.parametrize(
    ("source", "recipe", "tools"),
    [
        ({**SOURCE, "revision": "1" * 40}, RECIPE, TOOLS),
        (SOURCE, RECIPE.model_copy(update={"limits": Limits(max_batch_size=8)}), TOOLS),
        (SOURCE, RECIPE.model_copy(update={"architecture": Architecture.X86_64_V4}), TOOLS),
        (SOURCE, RECIPE, Toolchain(builder_image="builder:2")),
    ],
)
def test_everything_asked_for_is_in_the_request_key(source, recipe, tools):
    assert request_key(source, recipe, tools) != request_key(SOURCE, RECIPE, TOOLS)


@pytest.mark.parametrize(
    ("source", "recipe", "key"),
    [
        (
            {"repo": "o/m", "revision": "0" * 40},
            Recipe(architecture="x86-64-v3"),
            "277ce391d4507de4ca6adf0a2bc42285744fa6791e46536334a11ec39b4c41ce",
        ),
        (
            {"claimName": "c", "path": "p"},
            Recipe(
                architecture="sm_90",
                gpu_product="NVIDIA-H200",
                quantization={"algorithm": "NONE"},
                limits={"maxBatchSize": 8},
                determinism="BatchInvariant",
            ),
            "2a867952cc926928765580f9377c597243d003ad5734d54ccb21efd80601e894",
        ),
    ],
)
def test_keys_of_earlier_releases_hold(source, recipe, key):
    # Another key is another build to an operator: an upgrade would build every engine anew.
    assert request_key(source, recipe, Toolchain(builder_image="builder:1", abi="abi")) == key


def test_a_default_written_out_gives_the_same_key():
    spelled = Recipe.model_validate(
        {"architecture": "x86-64-v3", "limits": {"maxBatchSize": 64}, "determinism": "Fast"}
    )
    assert request_key(SOURCE, spelled, TOOLS) == request_key(SOURCE, RECIPE, TOOLS)
    assert engine_key("m", spelled) == engine_key("m", RECIPE)


def test_how_scales_are_found_is_in_the_request_key_and_its_digest_in_the_engines():
    def recipe(**fields):
        calibration = Calibration(**fields) if fields else None
        quantization = Quantization(algorithm="FP8", calibration=calibration)
        return RECIPE.model_copy(update={"quantization": quantization})

    recipes = [recipe(), recipe(path="a.txt"), recipe(path="b.txt"), recipe(samples=3)]
    assert len({request_key(SOURCE, r, TOOLS) for r in recipes}) == 4
    assert len({engine_key("m", r, calibration_digest="d") for r in recipes}) == 1
    assert engine_key("m", recipe(), calibration_digest="e") != engine_key(
        "m", recipe(), calibration_digest="d"
    )


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"maxInputLen": 4096, "maxSeqLen": 4096}, "maxInputLen 4096 must be below maxSeqLen 4096"),
        ({"maxBatchSize": 64, "maxNumTokens": 32}, "maxNumTokens 32 must be at least maxBatchSize"),
    ],
)
def test_limits_that_contradict_each_other_are_named(limits, message):
    with pytest.raises(ValidationError, match=message):
        Limits.model_validate(limits)
