"""What the user's environment asks for: the only place of this package that reads it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster.settings import read_settings

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Settings:
    """The folder that caches what building leaves; the base image, and the image (or the stage
    `wheel`) that Triton's image is made on, if one is asked for."""

    folder: Path
    base_image: str | None
    server_image: str | None = None


def read_image_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from NACELLE_CACHE, BASE_IMAGE and SERVER_IMAGE."""
    env = os.environ if environment is None else environment
    return Settings(
        folder=read_settings(env).cache / "images",
        base_image=env.get("BASE_IMAGE") or None,
        server_image=env.get("SERVER_IMAGE") or None,
    )
