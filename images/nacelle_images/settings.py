"""What the user's environment asks for: the only place of this package that reads it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.settings import read_settings

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Settings:
    """The folder that caches what building leaves; the base image, and the image (or the stage
    `wheel`) that Triton's image is made on, if one is asked for; whether builder and runtime hold
    TensorRT, and the mirror of NVIDIA's index that its libraries come from, if there is one."""

    folder: Path
    base_image: str | None
    server_image: str | None = None
    tensorrt: bool = False
    tensorrt_index: str | None = None


def read_image_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from NACELLE_CACHE, BASE_IMAGE, SERVER_IMAGE, TENSORRT, WHEEL_STUB_PIP_INDEX_URL.

    ClusterError for a TENSORRT that is neither 1 nor 0.
    """
    env = os.environ if environment is None else environment
    tensorrt = env.get("TENSORRT") or "0"
    if tensorrt not in {"0", "1"}:
        raise ClusterError(f"TENSORRT: {tensorrt!r} is neither 1 nor 0")
    return Settings(
        folder=read_settings(env).cache / "images",
        base_image=env.get("BASE_IMAGE") or None,
        server_image=env.get("SERVER_IMAGE") or None,
        tensorrt=tensorrt == "1",
        tensorrt_index=env.get("WHEEL_STUB_PIP_INDEX_URL") or None,
    )
