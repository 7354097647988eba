"""What an image is made of: the tag that names this content, and the folder to build it from."""

import hashlib
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nacelle_cluster.command import run
from nacelle_images.spec import ImageSpec

PROJECT_FILES = ("pyproject.toml", "README.md", "LICENSE")
# Fixed, because a tool's cache takes a file of another date for another file.
MTIME = 946684800


@dataclass(frozen=True)
class Context:
    """A folder to build one image from, and the Dockerfile in it."""

    folder: Path
    dockerfile: Path


def image_tag(spec: ImageSpec, root: Path, base: str) -> str:
    """16 hex digits over all that decides an image's content; `base` identifies the base image."""
    digest = hashlib.sha256(base.encode())
    digest.update("".join(f"{name}={value} " for name, value in spec.arguments.items()).encode())
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    digest.update(repr((project["version"], project["scripts"])).encode())
    for name in (spec.dockerfile, *spec.locks, *_package_files(spec, root)):
        digest.update(name.encode() + b"\0" + (root / name).read_bytes() + b"\0")
    for wheel in _wheels(spec, root):
        with wheel.open("rb") as file:
            digest.update(wheel.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def write_context(spec: ImageSpec, root: Path, folder: Path) -> Context:
    """Lay out `folder` for an image of the checkout `root`: Dockerfile, locks, wheels, sources."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in (spec.dockerfile, *spec.locks):
        _copy(root, name, folder)
    sources = [path for pattern in spec.sources for path in root.glob(pattern)]
    for path in (*_wheels(spec, root), *sources):
        _copy(root, path.relative_to(root).as_posix(), folder)
    _build_wheel(spec, root, folder / "dist")
    for path in folder.rglob("*"):
        os.utime(path, (MTIME, MTIME))
    return Context(folder, folder / spec.dockerfile)


def _wheels(spec: ImageSpec, root: Path) -> list[Path]:
    return sorted((root / spec.wheels).glob("*.whl")) if spec.wheels else []


def _build_wheel(spec: ImageSpec, root: Path, destination: Path) -> None:
    """The distribution with the image's packages only, so that no image holds another's code."""
    with tempfile.TemporaryDirectory() as scratch:
        for name in (*PROJECT_FILES, *_package_files(spec, root)):
            _copy(root, name, Path(scratch))
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
        run([*command, "-d", destination], cwd=Path(scratch))


def _package_files(spec: ImageSpec, root: Path) -> Iterator[str]:
    for package in spec.packages:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(root).as_posix()


def _copy(root: Path, name: str, folder: Path) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root / name, folder / name)
