"""What the user's environment asks for: the only place of this package that reads it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster.settings import read_settings

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Settings:
    """The folder that caches what building leaves, and the base image if one is asked for."""

    folder: Path
    base_image: str | None


def read_image_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings from NACELLE_CACHE and BASE_IMAGE."""
    env = os.environ if environment is None else environment
    return Settings(read_settings(env).cache / "images", env.get("BASE_IMAGE") or None)
