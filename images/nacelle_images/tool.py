"""What publishing asks of a container tool; buildah.py and docker.py each give one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class BuildOrder:
    """One image to build: from which folder and Dockerfile, under which name."""

    context: Path
    dockerfile: Path
    reference: str


class ContainerTool(Protocol):
    """Builds, runs and pushes images."""

    def base_identity(self) -> str:
        """What identifies the base image's content; makes the base if it is a local one."""

    def build(self, order: BuildOrder) -> None:
        """Build an image, taking unchanged layers from the last time."""

    def run(self, reference: str, command: Sequence[str]) -> str:
        """Run a command in an image under the image's own user; its output."""

    def push(self, reference: str) -> None:
        """Push an image to the registry that its name begins with."""

    def remove(self, reference: str) -> None:
        """Forget an image that the registry now has."""

    def finish(self) -> None:
        """Give back what is not worth keeping until the next time."""
