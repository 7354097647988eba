"""Samples: read by the models, and served by exactly the objects that are kept beside the tests."""

from pathlib import Path

import build_golden
import pytest
import yaml
from serving_golden import GOLDEN, SAMPLES, deployments, rendered

from nacelle_engine.abi import ABI
from nacelle_operator.api.crd import RESOURCES

KINDS = {resource.kind: resource for resource in RESOURCES}
FILES = sorted(SAMPLES.glob("*.yaml"))


@pytest.mark.parametrize("sample", FILES, ids=lambda p: p.name)
def test_a_sample_is_read_without_a_field_left_over(sample: Path) -> None:
    for raw in yaml.load_all(sample.read_text(), yaml.CSafeLoader):
        raw["metadata"]["namespace"] = "team"
        resource = KINDS[raw["kind"]].parse(raw)
        assert _is_within(raw["spec"], resource.plain()["spec"])


def _is_within(part: object, whole: object) -> bool:
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(name in whole and _is_within(part[name], whole[name]) for name in part)
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(_is_within, part, whole))
    return part == whole


@pytest.mark.parametrize("sample", [f for f in FILES if deployments(f)], ids=lambda p: p.name)
def test_a_sample_is_served_by_these_objects(sample: Path) -> None:
    assert rendered(sample) == (GOLDEN / sample.name).read_text(), (
        "look at the difference, then run `python tests/support/serving_golden.py`"
    )


@pytest.mark.parametrize("name", build_golden.NAMES)
def test_a_sample_is_built_by_these_objects(name: str) -> None:
    assert build_golden.rendered(name) == build_golden.golden(name).read_text(), (
        "look at the difference, then run `python tests/support/build_golden.py`"
    )


def test_deployments_name_targets_that_their_samples_build() -> None:
    for sample in FILES:
        raws = list(yaml.load_all(sample.read_text(), yaml.CSafeLoader))
        built = {
            (raw["metadata"]["name"], target["name"])
            for raw in raws
            if raw["kind"] == "EngineBuild"
            for target in raw["spec"]["targets"]
        }
        refs = [d["spec"]["engine"].get("buildRef") for d in deployments(sample)]
        assert all((ref["name"], ref["target"]) in built for ref in refs if ref)


def test_the_imported_engine_is_of_this_abi() -> None:
    imported = yaml.load_all((SAMPLES / "engine-import.yaml").read_text(), yaml.CSafeLoader)
    assert next(imported)["spec"]["abi"] == ABI
