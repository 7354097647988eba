"""`python tests/support/build_golden.py`: writes what the samples' builds are made by."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from serving_golden import GOLDEN, SAMPLES

from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.new_job import new_job
from nacelle_operator.build.observed import Observed
from nacelle_operator.build.request import target_requests
from nacelle_operator.build.target_input import TargetInput
from nacelle_operator.objects.resource_claim_template import (
    claim_template_of,
    resource_claim_template,
)

TOOLCHAIN = Toolchain(builder_image="builder:1", abi="abi")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = ("smollm2", "llama-gpus", "llama-dra")


def golden(name: str) -> Path:
    """The file that a sample's builds are compared with."""
    return GOLDEN / f"{name}.build.yaml"


def rendered(name: str) -> str:
    """All Jobs of a sample's builds, and what belongs to them, as YAML."""
    objects: list[Any] = []
    for raw in yaml.load_all((SAMPLES / f"{name}.yaml").read_text(), yaml.CSafeLoader):
        if raw["kind"] != "EngineBuild":
            continue
        meta = {**raw["metadata"], "namespace": "team", "uid": "u", "generation": 1}
        build = EngineBuild.parse({**raw, "metadata": meta})
        for request in target_requests(build, TOOLCHAIN):
            target = TargetInput(build, request, TOOLCHAIN, Observed(), NOW)
            for job in request.jobs:
                objects += _with_template(target, dict(new_job(target, job).creates[0]))
    return yaml.dump_all(objects, Dumper=yaml.CSafeDumper, sort_keys=False)


def _with_template(target: TargetInput, job: dict[str, Any]) -> list[dict[str, Any]]:
    template, claim = claim_template_of(job), target.request.target.device_claim
    if template is None or claim is None:
        return [job]
    stored = {**job, "metadata": {**job["metadata"], "uid": "j"}}
    return [job, resource_claim_template(stored, template, target.request.target, claim)]


def write() -> None:
    """Write the golden files."""
    for name in NAMES:
        golden(name).write_text(rendered(name))


if __name__ == "__main__":
    sys.exit(write())
