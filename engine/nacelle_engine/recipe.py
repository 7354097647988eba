"""A recipe: everything that decides what an engine is, apart from the model's content."""

from typing import Any, Final, Literal

from nacelle_engine.abi import ABI, abi_of
from nacelle_engine.arch import Architecture
from nacelle_engine.canonical import digest
from nacelle_engine.frozen import Frozen
from nacelle_engine.limits import Limits
from nacelle_engine.precision import Determinism, Quantization

# An engine for every product of its architecture, built with tactics that none of them dislikes.
ANY_PRODUCT: Final = "any"
# What compiles a layer: our own kernels, or TensorRT for all of it but attention.
Backend = Literal["native", "tensorrt"]


class Parallelism(Frozen):
    """Over how many devices an engine is spread; only 1 x 1 exists yet."""

    tensor: Literal[1] = 1
    pipeline: Literal[1] = 1


class Recipe(Frozen):
    """How one engine is to be built for one target."""

    architecture: Architecture
    gpu_product: str = ANY_PRODUCT
    backend: Backend = "native"
    quantization: Quantization = Quantization()
    determinism: Determinism = Determinism.FAST
    limits: Limits = Limits()
    parallelism: Parallelism = Parallelism()


class Toolchain(Frozen):
    """The builder that a build is pinned to: its image and the ABI it compiles for."""

    builder_image: str
    abi: str = ABI


def request_key(source: dict[str, str], recipe: Recipe, toolchain: Toolchain) -> str:
    """The key an operator knows before any Job: immutable source + recipe + toolchain.

    `source` names the model: {"repo", "revision"} or {"claimName", "path"[, "digest"]}. What is
    left out of a recipe is left out of its key: a field that a release adds, and that is None where
    it is not asked for, changes no key, and with it rebuilds nothing.
    """
    asked = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    return digest({"source": source, "recipe": asked, "toolchain": _plain(toolchain)})


def engine_key(
    model_digest: str, recipe: Recipe, *, calibration_digest: str = "", sm_count: int = 0
) -> str:
    """The key over content that a builder reports and a store names its folder by.

    `calibration_digest` stands for how static scales are found, in place of the recipe's words for
    it: a file of the same content under another name gives the same engine.
    """
    plain = _plain(recipe)
    del plain["quantization"]["calibration"]
    return digest(
        {
            "model": model_digest,
            "recipe": plain,
            "calibration": calibration_digest,
            "smCount": sm_count,
            "abi": abi_of(recipe.backend),
        }
    )


def _plain(model: Frozen) -> dict[str, Any]:
    return model.model_dump(mode="json", by_alias=True)
