import re

import pytest

from nacelle_images.settings import CHECKOUT
from nacelle_images.spec import BUILDER, IMAGES, ON_DEMAND, RUNTIME, TRITON

ALL = (*IMAGES, *ON_DEMAND)


def instructions(path: str) -> list[str]:
    text = (CHECKOUT / path).read_text().replace("\\\n", "")
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def test_builder_and_runtime_are_the_same_down_to_torch():
    builder, runtime = instructions(BUILDER.dockerfile), instructions(RUNTIME.dockerfile)
    torch = next(i for i, line in enumerate(builder) if line.startswith("RUN pip"))
    assert "requirements/torch.txt" in builder[torch]
    assert builder[: torch + 1] == runtime[: torch + 1]


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_every_image_has_a_public_base_and_ends_without_root(spec):
    lines = instructions(spec.dockerfile)
    assert lines[0] == "ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim"
    assert next(line for line in lines if line.startswith("FROM ")).startswith("FROM ${BASE_IMAGE}")
    users = [line for line in lines if line.startswith("USER")]
    assert users == ["USER 10001:10001"]
    assert lines[-1].startswith("ENTRYPOINT [")


def test_tritons_image_is_made_on_nvidias_or_on_the_wheel():
    lines = instructions(TRITON.dockerfile)
    assert lines[1].startswith("ARG SERVER_IMAGE=nvcr.io/nvidia/tritonserver:")
    froms = [line for line in lines if line.startswith("FROM ")]
    assert froms == ["FROM ${BASE_IMAGE} AS wheel", "FROM ${SERVER_IMAGE}"]


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_every_image_installs_locked_versions_only(spec):
    installs = [line for line in instructions(spec.dockerfile) if "pip install" in line]
    assert len(installs) == len(spec.locks) + 1
    for line, lock in zip(installs, spec.locks, strict=False):
        assert "--require-hashes" in line
        assert lock in line
    assert "--no-index" in installs[-1]


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_the_code_comes_after_everything_that_changes_less(spec):
    copies = [line for line in instructions(spec.dockerfile) if line.startswith("COPY")]
    assert copies[-1].startswith("COPY dist/nacelle-*.whl")
