import re

import pytest

from nacelle_images.settings import CHECKOUT
from nacelle_images.spec import BUILDER, IMAGES, ON_DEMAND, RUNTIME, TRITON, with_tensorrt

ALL = (*IMAGES, *ON_DEMAND)
TENSORRT = "torch-tensorrt"
WITH_TENSORRT = [with_tensorrt(spec) for spec in (BUILDER, RUNTIME)]


def instructions(path: str) -> list[str]:
    text = (CHECKOUT / path).read_text().replace("\\\n", "")
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def stages(path: str) -> dict[str, list[str]]:
    """The stages' instructions by their name; the last one's is what it is made from."""
    found: dict[str, list[str]] = {}
    for line in instructions(path):
        if line.startswith("FROM "):
            stage = found.setdefault(line.split(" ")[-1], [])
        if found:
            stage.append(line)
    return found


def installs(lines: list[str]) -> list[str]:
    """Every pip install, also of several in one RUN."""
    return [
        part for line in lines if line.startswith("RUN") for part in re.split(r"&&|; |then ", line)
        if "pip install" in part
    ]  # fmt: skip


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
    parts = stages(spec.dockerfile)
    parts.pop(TENSORRT, None)
    found = installs([line for lines in parts.values() for line in lines])
    assert len(found) == len(spec.locks) + 1
    for line, lock in zip(found, spec.locks, strict=False):
        assert "--require-hashes" in line
        assert lock in line
    assert "--no-index" in found[-1]


@pytest.mark.parametrize("spec", WITH_TENSORRT, ids=lambda spec: spec.name)
def test_tensorrt_is_locked_too_unless_its_wheels_are_given(spec):
    given, *found = installs(stages(spec.dockerfile)[TENSORRT])
    assert f"--no-index /{spec.wheels}/*.whl" in given
    for line, lock in zip(found, spec.locks[1:-1], strict=True):
        assert "--require-hashes" in line
        assert line.strip().endswith(lock)
    # The lock holds whatever was given, and its build fetches nothing that is not locked.
    assert "--no-build-isolation $from" in found[-1]


def test_tensorrt_is_the_same_layer_of_builder_and_runtime_and_stands_after_torch():
    builder, runtime = (stages(spec.dockerfile) for spec in (BUILDER, RUNTIME))
    assert list(builder) == list(runtime)
    assert list(builder) == ["torch", TENSORRT, "torch${TENSORRT:+-tensorrt}"]
    assert builder["torch"] == runtime["torch"]
    assert builder[TENSORRT] == runtime[TENSORRT]
    assert builder[TENSORRT][0] == "FROM torch AS torch-tensorrt"


@pytest.mark.parametrize("spec", [BUILDER, RUNTIME], ids=lambda spec: spec.name)
def test_an_image_holds_tensorrt_only_where_it_is_asked_for(spec):
    assert instructions(spec.dockerfile)[1] == "ARG TENSORRT"
    assert with_tensorrt(spec).arguments == {"TENSORRT": "1"}
    assert {"tensorrt_bindings", "tensorrt_libs"} <= spec.rules.no_modules
    assert {"tensorrt_bindings", "tensorrt_libs"} <= with_tensorrt(spec).rules.modules
    assert not with_tensorrt(spec).rules.modules & with_tensorrt(spec).rules.no_modules


def test_an_image_that_never_needs_tensorrt_is_as_it_was():
    assert all(with_tensorrt(spec) is spec for spec in ALL if spec not in (BUILDER, RUNTIME))


def test_wheels_that_are_given_reach_a_build_by_hand():
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    assert "!requirements/wheels/*.whl" in ignored


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_the_code_comes_after_everything_that_changes_less(spec):
    copies = [line for line in instructions(spec.dockerfile) if line.startswith("COPY")]
    assert copies[-1].startswith("COPY dist/nacelle-*.whl")


def test_what_an_image_copies_of_the_code_reaches_its_build():
    ignored = (CHECKOUT / ".dockerignore").read_text().splitlines()
    for spec in ALL:
        copied = [
            source
            for line in instructions(spec.dockerfile)
            if line.startswith("COPY ")
            for source in line.split()[1:-1]
            if not source.startswith(("requirements/", "dist/", "--"))
        ]
        assert sorted(copied) == sorted(spec.sources)
        assert all(f"!{source}" in ignored for source in spec.sources)
        assert all(list(CHECKOUT.glob(source)) for source in spec.sources)
