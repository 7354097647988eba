"""The labels by which nodes tell of their GPUs."""

from dataclasses import dataclass, fields
from typing import Final, Self

from nacelle_engine.errors import InvalidRequest


@dataclass(frozen=True)
class GpuLabels:
    """Keys of node labels; the defaults are those of NVIDIA's GPU feature discovery.

    major, minor: the compute capability; product: the name, spaces as dashes; memory: MiB.
    """

    major: str = "nvidia.com/gpu.compute.major"
    minor: str = "nvidia.com/gpu.compute.minor"
    product: str = "nvidia.com/gpu.product"
    memory: str = "nvidia.com/gpu.memory"

    @classmethod
    def parse(cls, given: object) -> Self:
        """Some of the keys given, as a JSON object; InvalidRequest where it is none of these."""
        known = {field.name for field in fields(cls)}
        if not isinstance(given, dict) or not given.keys() <= known:
            raise InvalidRequest(f"must be a JSON object of {', '.join(sorted(known))}")
        if wrong := [name for name, key in given.items() if not isinstance(key, str) or not key]:
            raise InvalidRequest(f"{wrong[0]} must be the key of a node label")
        return cls(**given)


FEATURE_DISCOVERY: Final = GpuLabels()
