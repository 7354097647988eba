"""What the demo reads from the environment, through the tools that it stands on."""

from dataclasses import dataclass
from pathlib import Path

import nacelle_cluster.settings
import nacelle_images.settings

CHECKOUT = nacelle_images.settings.CHECKOUT


@dataclass(frozen=True)
class Settings:
    """The settings of the cluster tool and of the image tool."""

    cluster: nacelle_cluster.settings.Settings
    images: nacelle_images.settings.Settings

    @property
    def models(self) -> Path:
        """Where fetched models are kept between runs."""
        return self.cluster.cache / "models"


def read_settings() -> Settings:
    """All settings from the environment."""
    return Settings(
        nacelle_cluster.settings.read_settings(), nacelle_images.settings.read_image_settings()
    )
