"""The kustomize base: what the chart renders, without Helm, built and applied by kubectl."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubectl_tool import kubectl

from nacelle_engine.abi import ABI
from nacelle_operator.api.crd import RESOURCES, definition
from nacelle_operator.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "kustomize"
OPERATOR = DEPLOY / "base" / "operator.yaml"


def environment(manifests: list[dict[str, Any]]) -> dict[str, str]:
    (deployment,) = (m for m in manifests if m["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_the_operators_manifests_are_whole_and_say_nothing_of_helm() -> None:
    text = OPERATOR.read_text()
    assert "helm" not in text.lower()
    manifests = list(yaml.load_all(text, yaml.CSafeLoader))
    kinds = {manifest["kind"] for manifest in manifests}
    assert kinds >= {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "Deployment"}
    namespaces = {m["metadata"].get("namespace", "") for m in manifests}
    assert namespaces == {"", "nacelle-system"}
    assert Settings.from_environment(environment(manifests)).runtime_images.keys() == {ABI}


def test_every_definition_is_listed() -> None:
    folder = DEPLOY / "base" / "crds"
    listed = yaml.load((folder / "kustomization.yaml").read_text(), yaml.CSafeLoader)["resources"]
    assert sorted(listed) == sorted(f"nacelle.dev_{resource.plural}.yaml" for resource in RESOURCES)
    for resource in RESOURCES:
        file = folder / f"nacelle.dev_{resource.plural}.yaml"
        assert yaml.load(file.read_text(), yaml.CSafeLoader) == definition(resource)


@pytest.mark.slow
def test_the_overlay_takes_all_images_from_its_registry() -> None:
    manifests = list(
        yaml.load_all(kubectl("kustomize", str(DEPLOY / "registry")), yaml.CSafeLoader)
    )
    definitions = [m for m in manifests if m["kind"] == "CustomResourceDefinition"]
    assert [m["metadata"]["annotations"] for m in definitions] == 3 * [
        {
            "argocd.argoproj.io/sync-options": "Prune=false,Delete=false",
            "kustomize.toolkit.fluxcd.io/prune": "disabled",
        }
    ]
    place = "registry.example.com/team/nacelle"
    version = yaml.load((ROOT / "charts/nacelle/Chart.yaml").read_text(), yaml.CSafeLoader)[
        "appVersion"
    ]
    settings = Settings.from_environment(environment(manifests))
    assert settings.builder_image == f"{place}/builder:{version}"
    assert settings.runtime_images == {ABI: f"{place}/runtime:{version}"}
    assert settings.triton_images == {ABI: f"{place}/triton:{version}"}
    (deployment,) = (m for m in manifests if m["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{place}/operator:{version}"


@pytest.mark.slow
def test_an_api_server_takes_the_base(control_plane: Any) -> None:
    at = f"--kubeconfig={control_plane.kubeconfig}"
    text = kubectl("kustomize", str(DEPLOY / "base"))
    flags = ("--server-side", "--force-conflicts", "--validate=strict")
    try:
        kubectl(at, "apply", *flags, "-f", "-", stdin=text)
        found = control_plane.call(
            "GET", "/apis/apps/v1/namespaces/nacelle-system/deployments/nacelle-operator"
        )
        assert found["spec"]["replicas"] == 1
    finally:
        # The definitions are everybody's, and nobody here ends a namespace.
        kept = ("CustomResourceDefinition", "Namespace")
        own = [m for m in yaml.load_all(text, yaml.CSafeLoader) if m["kind"] not in kept]
        gone = ("delete", "--ignore-not-found", "--timeout=60s", "-f", "-")
        kubectl(at, *gone, stdin=yaml.safe_dump_all(own))
