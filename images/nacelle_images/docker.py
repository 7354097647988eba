"""Images by docker, where an engine runs: the user's own configuration and credentials apply."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from nacelle_cluster.command import run, succeeds
from nacelle_images.tool import BuildOrder

BUILD_SECONDS = 3600


def docker_runs() -> bool:
    """Whether there is a docker engine to ask; the client alone is not enough."""
    return bool(shutil.which("docker")) and succeeds(["docker", "version"])


@dataclass(frozen=True)
class Docker:
    """The docker engine; `base_image` None takes the Dockerfiles' default."""

    base_image: str | None

    def base_identity(self) -> str:
        """The base's name: what it holds is for its registry to say."""
        return self.base_image or "default"

    def server_image(self) -> None:
        """The Dockerfile's own: an engine that runs can pull it."""

    def build(self, order: BuildOrder) -> None:
        """Build an image, taking unchanged layers from the engine's cache."""
        argument = ["--build-arg", f"BASE_IMAGE={self.base_image}"] if self.base_image else []
        names = ["-f", str(order.dockerfile), "-t", order.reference]
        arguments = [*argument, *order.argument_words]
        command = ["docker", "build", "-q", *arguments, *names, str(order.context)]
        # It alone leaves out the stages that an image does not need.
        run(command, seconds=BUILD_SECONDS, env={**os.environ, "DOCKER_BUILDKIT": "1"})

    def run(self, reference: str, command: Sequence[str]) -> str:
        """Run a command in an image under the image's own user; its output."""
        program, *words = command
        isolation = ["--rm", "--network", "none", "--read-only"]
        return run(["docker", "run", *isolation, "--entrypoint", program, reference, *words])

    def push(self, reference: str) -> None:
        """Push an image to the registry that its name begins with."""
        run(["docker", "push", "-q", reference], seconds=BUILD_SECONDS)

    def remove(self, reference: str) -> None:
        """Forget an image that the registry now has."""
        run(["docker", "rmi", reference])

    def finish(self) -> None:
        """Nothing: the engine's cache is the user's."""
