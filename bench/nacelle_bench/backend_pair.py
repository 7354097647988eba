"""Two bundles that differ in what compiled them and in nothing else."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from nacelle_engine.abi import backend_of
from nacelle_engine.bundle import Bundle
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.frozen import Frozen
from nacelle_engine.manifest import Manifest

BACKENDS: Final = ("native", "tensorrt")


class Pair(NamedTuple):
    """The bundle of each backend."""

    native: Bundle
    tensorrt: Bundle


def pair(*bundles: Bundle) -> Pair:
    """The two in their order; InvalidRequest names what keeps them from being compared."""
    found = {backend_of(bundle.manifest.abi): bundle for bundle in bundles}
    if set(found) != set(BACKENDS):
        raise InvalidRequest(
            f"{bundles[0].root} and {bundles[1].root} are both of backend {next(iter(found))}: "
            "name one of native and one of tensorrt"
        )
    made = Pair(found["native"], found["tensorrt"])
    one, other = (dict(_facts(bundle.manifest)) for bundle in made)
    if differences := [
        f"{name} ({one[name]} and {other[name]})" for name in one if one[name] != other[name]
    ]:
        raise InvalidRequest(
            f"{made.native.root} and {made.tensorrt.root} differ in {', '.join(differences)}: "
            "build both of one checkpoint with the same flags beside --backend"
        )
    return made


def _facts(manifest: Manifest) -> Iterator[tuple[str, Any]]:
    """What must be the same, by the names that requests have for it."""
    yield "the checkpoint's digest", manifest.provenance.model_digest[:16]
    yield "the calibration's digest", manifest.provenance.calibration_digest[:16] or "none"
    yield from _fields("limits", manifest.limits)
    yield from _fields("quantization", manifest.quantization)
    yield "determinism", manifest.determinism.value
    yield from _fields("target", manifest.target)


def _fields(name: str, model: Frozen) -> Iterator[tuple[str, Any]]:
    for field, value in model.model_dump(mode="json", by_alias=True).items():
        yield f"{name}.{field}", value
