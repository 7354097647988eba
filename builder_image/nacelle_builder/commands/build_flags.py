"""`nacelle build`'s flags, and the build request that they make."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from nacelle_builder.source.hub import HubModel
from nacelle_engine.arch import Architecture, cpu_flags, cpu_level, parse_architecture
from nacelle_engine.calibration import DEFAULT_PERCENTILE, Calibration, CalibrationMethod
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.limits import Limits
from nacelle_engine.precision import (
    ComputeType,
    Determinism,
    Fp8OrNone,
    Quantization,
    QuantizationAlgorithm,
)
from nacelle_engine.recipe import Recipe
from nacelle_engine.request import (
    AccuracyBounds,
    BuildRequest,
    FolderSource,
    HuggingFaceSource,
)

_RECIPE, _LIMITS, _BOUNDS = Quantization(), Limits(), AccuracyBounds()
DEFAULT_STORE = Path("store")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Everything that a request can hold."""
    parser.add_argument("model", nargs="?", help="a checkpoint's folder, or hf:org/name@<revision>")
    parser.add_argument("--model-name", help="what clients call it; default: the folder's name")
    parser.add_argument("--model-digest", help="refuse a folder whose digest is another")
    parser.add_argument("--store", type=Path, default=DEFAULT_STORE, help="where engines go")
    parser.add_argument(
        "--target",
        help="x86-64-v3, x86-64-v4, sm_80, sm_89, sm_90 or sm_100; default: this CPU's level",
    )
    parser.add_argument(
        "--gpu-product",
        default="any",
        help="bind a GPU engine to one product, as node labels spell it; default any",
    )
    parser.add_argument(
        "--backend",
        choices=["native", "tensorrt"],
        default="native",
        help="what compiles layers: our own kernels, or TensorRT all but attention; default native",
    )
    _choice(parser, "--quantization", QuantizationAlgorithm, _RECIPE.algorithm)
    _choice(parser, "--kv-cache", Fp8OrNone, _RECIPE.kv_cache)
    _choice(parser, "--lm-head", Fp8OrNone, _RECIPE.lm_head)
    _choice(parser, "--compute-type", ComputeType, _RECIPE.compute_type)
    _add_calibration(parser)
    _choice(parser, "--determinism", Determinism, Determinism.FAST)
    for name in ("max_batch_size", "max_input_len", "max_seq_len", "max_num_tokens"):
        _number(parser, name, getattr(_LIMITS, name))
    parser.add_argument("--max-kl-divergence", default=_BOUNDS.max_kl_divergence, metavar="X")
    for name in (
        "min_top_one_agreement_percent",
        "max_perplexity_increase_percent",
        "samples",
    ):
        _number(parser, name, getattr(_BOUNDS, name))
    parser.add_argument("--on-failure", choices=["Fail", "Publish"], default=_BOUNDS.on_failure)


def request_of(arguments: argparse.Namespace) -> BuildRequest:
    """The request that the flags describe; InvalidRequest names the flag that is wrong."""
    if arguments.model is None:
        raise InvalidRequest("name a model folder or hf:org/name@<revision> (or --request-env)")
    hub = HubModel.parse(arguments.model) if arguments.model.startswith("hf:") else None
    if hub is not None and arguments.model_digest:
        raise InvalidRequest("--model-digest is for folders: a hub model is pinned by its revision")
    try:
        return BuildRequest(
            model_name=arguments.model_name or _name(arguments.model, hub),
            hugging_face=hub and HuggingFaceSource(repo=hub.repo, revision=hub.revision),
            folder=None if hub else _folder(arguments),
            recipe=_recipe(arguments),
            accuracy=_bounds(arguments),
            store=str(arguments.store.absolute()),
        )
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + "-".join(str(part).replace("_", "-") for part in first["loc"][-1:])
        where = f"{flag}: " if first["loc"] else ""
        raise InvalidRequest(f"{where}{first['msg']}") from error


def _name(model: str, hub: HubModel | None) -> str:
    return hub.repo.rsplit("/", 1)[-1] if hub else Path(model).absolute().name


def _folder(arguments: argparse.Namespace) -> FolderSource:
    return FolderSource(path=str(Path(arguments.model).absolute()), digest=arguments.model_digest)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    return Recipe(
        architecture=_target(arguments.target),
        gpu_product=arguments.gpu_product,
        backend=arguments.backend,
        quantization=Quantization(
            algorithm=arguments.quantization,
            kv_cache=arguments.kv_cache,
            lm_head=arguments.lm_head,
            compute_type=arguments.compute_type,
            calibration=_calibration(arguments),
        ),
        determinism=arguments.determinism,
        limits=Limits(
            max_batch_size=arguments.max_batch_size,
            max_input_len=arguments.max_input_len,
            max_seq_len=arguments.max_seq_len,
            max_num_tokens=arguments.max_num_tokens,
        ),
    )


def _add_calibration(parser: argparse.ArgumentParser) -> None:
    defaults = Calibration()
    parser.add_argument(
        "--calibration-method",
        choices=[method.value for method in CalibrationMethod],
        help=f"how static scales are found; default {defaults.method}",
    )
    parser.add_argument(
        "--calibration-percentile",
        metavar="P",
        help=f"percentage of values not cut off; default {DEFAULT_PERCENTILE}",
    )
    parser.add_argument(
        "--calibration-samples", type=int, metavar="N", help=f"default {defaults.samples}"
    )
    parser.add_argument(
        "--calibration-path",
        metavar="FILE",
        help="texts in the model's folder, .txt or .jsonl; default: built-in ones",
    )


def _calibration(arguments: argparse.Namespace) -> Calibration | None:
    """The calibration that the flags ask for; None when no flag does."""
    given = {
        name: getattr(arguments, f"calibration_{name}")
        for name in ("method", "percentile", "samples", "path")
    }
    given = {name: value for name, value in given.items() if value is not None}
    try:
        return Calibration(**given) if given else None
    except ValidationError as error:
        first = error.errors()[0]
        flag = "-".join(("--calibration", *(str(part) for part in first["loc"])))
        raise InvalidRequest(f"{flag}: {first['msg']}") from error


def _bounds(arguments: argparse.Namespace) -> AccuracyBounds:
    return AccuracyBounds(
        max_kl_divergence=arguments.max_kl_divergence,
        min_top_one_agreement_percent=arguments.min_top_one_agreement_percent,
        max_perplexity_increase_percent=arguments.max_perplexity_increase_percent,
        samples=arguments.samples,
        on_failure=arguments.on_failure,
    )


def _target(name: str | None) -> Architecture:
    if name is not None:
        return parse_architecture(name)
    level = cpu_level(cpu_flags())
    if level is None:
        raise InvalidRequest("this CPU is below x86-64-v3: name a --target")
    return level


def _choice(
    parser: argparse.ArgumentParser,
    flag: str,
    values: type[QuantizationAlgorithm] | type[Fp8OrNone] | type[ComputeType] | type[Determinism],
    default: str,
) -> None:
    parser.add_argument(
        flag,
        choices=[value.value for value in values],
        default=str(default),
        help=f"default {default}",
    )


def _number(parser: argparse.ArgumentParser, name: str, default: int) -> None:
    flag = "--" + name.replace("_", "-")
    parser.add_argument(flag, type=int, default=default, metavar="N", help=f"default {default}")
