"""`python tests/support/serving_golden.py`: writes what the samples' deployments are served by."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from serving_cases import IMAGES, NOW, OLD, TRITONS, build, engine

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.deployment.observe import Observed
from nacelle_operator.deployment.plan import plan

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
GOLDEN = ROOT / "tests" / "nacelle_operator" / "golden"


def deployments(sample: Path) -> list[dict[str, Any]]:
    """The InferenceDeployments of a sample."""
    kept = [
        m
        for m in yaml.load_all(sample.read_text(), yaml.CSafeLoader)
        if m["kind"] == "InferenceDeployment"
    ]
    return [{**m, "metadata": {**m["metadata"], "namespace": "team", "uid": "u"}} for m in kept]


def rendered(sample: Path) -> str:
    """All objects that serve a sample's deployments, as YAML."""
    objects: list[Any] = []
    for manifest in deployments(sample):
        resource = InferenceDeployment.parse(manifest)
        ref = resource.spec.engine.engine_ref
        served = engine(ref.name.removeprefix("eng-") + "0" * 48 if ref else OLD)
        observed = Observed(
            build=build(OLD),
            engines={served.metadata.name: served},
            runtime_images=IMAGES,
            triton_images=TRITONS,
            activator_image="operator:1",
        )
        made = plan(resource, observed, NOW)
        if resource.spec.network.policy == "Restricted":
            # The policy comes first, alone.
            (guard,) = made.creates
            present = {**guard, "metadata": {**guard["metadata"], "uid": "n"}}
            made = plan(resource, replace(observed, network_policy=present), NOW)
        objects += [*made.objects, *made.creates]
    return yaml.dump_all(objects, Dumper=yaml.CSafeDumper, sort_keys=False)


def write() -> None:
    """Write the golden file of each sample that serves something."""
    for sample in sorted(SAMPLES.glob("*.yaml")):
        if deployments(sample):
            (GOLDEN / sample.name).write_text(rendered(sample))


if __name__ == "__main__":
    sys.exit(write())
