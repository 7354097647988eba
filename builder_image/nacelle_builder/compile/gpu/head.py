"""The places of the head: what makes the logits of so many rows."""

from nacelle_builder.compile.gpu.place import (
    Candidate,
    HeadProduct,
    Place,
    invariant,
    step_ranges,
    tiled,
)
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.ops.gpu import norm_gather, norm_logits
from nacelle_engine.precision import Fp8OrNone
from nacelle_engine.recipe import Recipe

# Up to so many rows our own kernel reads the weight as fast as memory gives it, in one launch.
_OWN_ROWS = 64
# From so many on, one range is all the rest.
_LAST_END = 1024


def head_places(spec: ModelSpec, recipe: Recipe) -> list[Place]:
    """One place a range of rows of logits."""
    fp8 = recipe.quantization.lm_head == Fp8OrNone.FP8
    shape = norm_logits.Shape(
        spec.vocab_size,
        spec.hidden_size,
        spec.norm_eps,
        "fp8e4nv" if fp8 else "bf16",
        soft_cap=spec.logits_soft_cap or 0.0,
    )
    made = []
    for first, last in step_ranges(recipe, recipe.limits.max_num_tokens, last=_LAST_END):
        candidates = tiled(norm_logits, shape, spec.vocab_size, last, recipe.architecture)
        if last > _OWN_ROWS and by_library(shape, recipe):
            candidates += (_product(spec, recipe),)
        made.append(Place("logits", first, last, candidates))
    return made


def by_library(shape: norm_logits.Shape, recipe: Recipe) -> bool:
    """Whether a library may make the logits.

    It has neither a soft cap nor a scale a word, and its sums follow the number of rows.
    """
    return shape.weight == "bf16" and not shape.soft_cap and not invariant(recipe)


def _product(spec: ModelSpec, recipe: Recipe) -> Candidate:
    rows = norm_gather.Shape(spec.hidden_size, spec.norm_eps, recipe.architecture)
    return Candidate(HeadProduct(norm_gather.kernel(rows, norm_gather.choices(rows)[0])))
