"""What publishing asks of a container tool; buildah.py and docker.py each give one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class BuildOrder:
    """One image to build: from which folder and Dockerfile, under which name.

    `arguments` are build arguments beside BASE_IMAGE.
    """

    context: Path
    dockerfile: Path
    reference: str
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def argument_words(self) -> list[str]:
        """The arguments as words of a command line."""
        pairs = self.arguments.items()
        return [word for name, value in pairs for word in ("--build-arg", f"{name}={value}")]


class ContainerTool(Protocol):
    """Builds, runs and pushes images."""

    def base_identity(self) -> str:
        """What identifies the base image's content; makes the base if it is a local one."""

    def server_image(self) -> str | None:
        """SERVER_IMAGE where nobody asked for one; None leaves it to the Dockerfile."""

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
