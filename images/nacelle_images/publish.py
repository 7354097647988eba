"""Getting images into a registry: built, inspected and pushed only where it lacks their content."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster.errors import ClusterError
from nacelle_cluster.lock import locked
from nacelle_cluster.registry import Registry
from nacelle_cluster.reporting import Report
from nacelle_images import inspection
from nacelle_images.buildah import Buildah
from nacelle_images.context import image_tag, write_context
from nacelle_images.docker import Docker, docker_runs
from nacelle_images.model import model_tag, write_model_context
from nacelle_images.remote import has_image
from nacelle_images.settings import CHECKOUT, Settings
from nacelle_images.spec import IMAGES, ImageSpec, with_tensorrt
from nacelle_images.tool import BuildOrder, ContainerTool


@dataclass(frozen=True)
class Publisher:
    """Publishes to one registry, by docker if an engine runs here and else by buildah."""

    settings: Settings
    registry: Registry
    report: Report

    def publish(self, specs: Iterable[ImageSpec] = IMAGES) -> dict[str, str]:
        """Image name -> full reference of each image, all of them in the registry afterwards."""
        with self._locked():
            tool = self._tool()
            base = tool.base_identity()
            references = {}
            for spec in self._asked(specs):
                tag = self._tag(tool, spec, base)
                references[spec.name] = self.registry.reference(_repository(spec), tag)
                if has_image(self.registry, _repository(spec), tag):
                    self.report(f"{spec.name}: unchanged, {references[spec.name]}")
                else:
                    self._make(tool, spec, references[spec.name])
            tool.finish()
        return references

    def publish_model(self, checkpoint: Path, name: str) -> str:
        """Reference of an image over scratch that holds a fetched checkpoint under /model."""
        repository, tag = f"nacelle/models/{name}", model_tag(checkpoint)
        reference = self.registry.reference(repository, tag)
        with self._locked():
            if not has_image(self.registry, repository, tag):
                tool = self._tool()
                context = write_model_context(checkpoint, self._folder / "model")
                order = BuildOrder(context.folder, context.dockerfile, reference)
                self._timed(f"{name}: built", lambda: tool.build(order))
                self._timed(f"{name}: pushed {reference}", lambda: tool.push(reference))
                tool.remove(reference)
        return reference

    def check(self, specs: Iterable[ImageSpec] = IMAGES) -> list[str]:
        """Rules that the images of this checkout break, each `image: what`; empty when all hold."""
        broken = []
        with self._locked():
            tool = self._tool()
            base = tool.base_identity()
            for spec in self._asked(specs):
                tag = self._tag(tool, spec, base)
                reference = self.registry.reference(_repository(spec), tag)
                self._build(tool, spec, reference)
                broken += [f"{spec.name}: {rule}" for rule in _inspect(tool, spec, reference)]
        return broken

    def _make(self, tool: ContainerTool, spec: ImageSpec, reference: str) -> None:
        self._timed(f"{spec.name}: built", lambda: self._build(tool, spec, reference))
        if broken := _inspect(tool, spec, reference):
            raise ClusterError(f"image {spec.name} is not pushed: it {'; it '.join(broken)}")
        self._timed(f"{spec.name}: pushed {reference}", lambda: tool.push(reference))

    def _tag(self, tool: ContainerTool, spec: ImageSpec, base: str) -> str:
        server = self._server_image(tool, spec)
        return image_tag(spec, CHECKOUT, f"{base} {server}" if server else base)

    def _build(self, tool: ContainerTool, spec: ImageSpec, reference: str) -> None:
        context = write_context(spec, CHECKOUT, self._folder / spec.name)
        arguments = dict(spec.arguments)
        if server := self._server_image(tool, spec):
            arguments["SERVER_IMAGE"] = server
        if spec.wheels and (index := self.settings.tensorrt_index):
            arguments["WHEEL_STUB_PIP_INDEX_URL"] = index
        tool.build(BuildOrder(context.folder, context.dockerfile, reference, arguments))

    def _asked(self, specs: Iterable[ImageSpec]) -> list[ImageSpec]:
        return [with_tensorrt(spec) if self.settings.tensorrt else spec for spec in specs]

    def _server_image(self, tool: ContainerTool, spec: ImageSpec) -> str | None:
        asked = self.settings.server_image or tool.server_image()
        return asked if spec.takes_server else None

    def _timed(self, step: str, action: Callable[[], None]) -> None:
        begun = time.monotonic()
        action()
        self.report(f"{step} ({time.monotonic() - begun:.0f} s)")

    def _tool(self) -> ContainerTool:
        if docker_runs():
            return Docker(self.settings.base_image)
        folder = self.settings.folder
        return Buildah(folder, self.settings.base_image, self.registry.plain_http)

    @property
    def _folder(self) -> Path:
        return self.settings.folder / "contexts"

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.settings.folder / "lock", "building images", seconds=3600)


def _repository(spec: ImageSpec) -> str:
    return f"nacelle/{spec.name}"


def _inspect(tool: ContainerTool, spec: ImageSpec, reference: str) -> list[str]:
    output = tool.run(reference, inspection.command(spec.rules))
    return inspection.violations(spec.rules, inspection.Findings.model_validate_json(output))
