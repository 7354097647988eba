"""The chart: what helm renders, what its schema refuses, and rights that match what is written."""

import functools
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from nacelle_engine.abi import ABI
from nacelle_operator import kinds
from nacelle_operator.engines.collection import Collection
from nacelle_operator.objects.gpu_labels import GpuLabels
from nacelle_operator.process import LEASE_NAME
from nacelle_operator.settings import Settings

CHART = Path(__file__).parents[2] / "charts" / "nacelle"
HELM = Path(sys.executable).parent / "helm"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(HELM), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@functools.cache
def template(*flags: str) -> str:
    """What an installation applies, as text."""
    done = helm("template", "nacelle", str(CHART), "-n", "sys", "--kube-version", "1.36", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(*flags: str) -> dict[tuple[str, str], dict[str, Any]]:
    """What an installation applies, by kind and name."""
    manifests = [m for m in yaml.load_all(template(*flags), yaml.CSafeLoader) if m]
    return {(m["kind"], m["metadata"]["name"]): m for m in manifests}


def operator(*flags: str) -> dict[str, Any]:
    spec: dict[str, Any] = render(*flags)["Deployment", "nacelle-operator"]["spec"]
    return spec["template"]["spec"]


def environment(*flags: str) -> dict[str, str]:
    return {v["name"]: v.get("value", "") for v in operator(*flags)["containers"][0]["env"]}


def test_lint() -> None:
    done = helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout


def test_the_operator_reads_what_the_chart_sets() -> None:
    flags = ("--set", "registry=r.example.com/n", "--set", "namespaces={a,b}")
    settings = Settings.from_environment(environment(*flags))
    version = yaml.load((CHART / "Chart.yaml").read_text(), yaml.CSafeLoader)["appVersion"]
    assert settings.builder_image == f"r.example.com/n/nacelle/builder:{version}"
    assert settings.runtime_images == {ABI: f"r.example.com/n/nacelle/runtime:{version}"}
    assert settings.triton_images == {ABI: f"r.example.com/n/nacelle/triton:{version}"}
    assert settings.activator_image == f"r.example.com/n/nacelle/operator:{version}"
    assert settings.namespaces == ("a", "b")
    assert settings.collection == Settings(builder_image="x").collection
    assert settings.gpu_labels == GpuLabels()
    labelled = Settings.from_environment(environment("--set", "gpuLabels.memory=example\\.com/m"))
    assert labelled.gpu_labels == GpuLabels(memory="example.com/m")
    kept = ("--set", "engines.gracePeriod=30s,engines.dryRun=true")
    collection = Settings.from_environment(environment(*kept)).collection
    assert collection == Collection(timedelta(seconds=30), is_dry_run=True)


def test_whole_references_and_digests() -> None:
    digest = "sha256:" + "0" * 64
    flags = (
        "--set",
        "image.reference=r:5000/op@x,builder.image.digest=" + digest,
        "--set-json",
        'runtimes={"abi.1": "r/one", "abi.2": "r/two"},tritons={"abi.1": "r/three"}',
    )
    assert operator(*flags)["containers"][0]["image"] == "r:5000/op@x"
    found = environment(*flags)
    assert found["NACELLE_ACTIVATOR_IMAGE"] == "r:5000/op@x", "the operator's own"
    assert found["NACELLE_BUILDER_IMAGE"] == f"nacelle/builder@{digest}"
    assert json.loads(found["NACELLE_RUNTIME_IMAGES"]) == {"abi.1": "r/one", "abi.2": "r/two"}
    assert json.loads(found["NACELLE_TRITON_IMAGES"]) == {"abi.1": "r/three"}


def test_without_an_image_of_triton_there_is_none_for_any_abi() -> None:
    assert environment("--set", "triton.image.repository=")["NACELLE_TRITON_IMAGES"] == "{}"


def test_definitions_are_kept_or_left_out() -> None:
    made = [m for (kind, _), m in render().items() if kind == "CustomResourceDefinition"]
    assert len(made) == 3
    assert all(m["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for m in made)
    without = render("--set", "crds.enabled=false")
    assert not [name for kind, name in without if kind == "CustomResourceDefinition"]


def test_the_operator_is_restricted() -> None:
    spec = operator()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]


def test_helm_tests_with_the_operators_image_and_no_more_rights() -> None:
    made = render("--set", "image.reference=r/op@x", "--set-json", 'nodeSelector={"a": "b"}')
    pod, deployment = made["Pod", "nacelle-operator-test"], made["Deployment", "nacelle-operator"]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["metadata"]["labels"]["app.kubernetes.io/component"] == "test"
    tested = deployment["spec"]["template"]["spec"]
    for same in ("securityContext", "serviceAccountName", "nodeSelector"):
        assert pod["spec"][same] == tested[same]
    (container,), (operator_container,) = pod["spec"]["containers"], tested["containers"]
    for same in ("image", "securityContext"):
        assert container[same] == operator_container[same]
    assert container["command"] == ["python", "-m", "nacelle_operator.installation"]
    assert container["args"] == ["http://nacelle-operator.sys:8080"]


def test_the_service_finds_the_operators_pods_alone() -> None:
    made = render()
    selector = made["Service", "nacelle-operator"]["spec"]["selector"].items()
    template = made["Deployment", "nacelle-operator"]["spec"]["template"]
    assert selector <= template["metadata"]["labels"].items()
    assert not selector <= made["Pod", "nacelle-operator-test"]["metadata"]["labels"].items()


def allowed(rules: list[dict[str, Any]]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def test_rights_are_those_of_the_kinds_that_are_handled() -> None:
    rights = allowed(render()["ClusterRole", "nacelle-operator"]["rules"])
    seen, written = {"list", "watch"}, {"create", "patch", "delete"}
    wanted = {(kind.group, kind.plural): seen | written for kind in kinds.CHILDREN}
    wanted["", "pods"] = wanted[kinds.ENDPOINT_SLICE.group, kinds.ENDPOINT_SLICE.plural] = seen
    # A name that somebody else has taken bears no label to watch.
    for kind in (kinds.HORIZONTAL_POD_AUTOSCALER, kinds.NETWORK_POLICY):
        wanted[kind.group, kind.plural] = {"get"} | seen | written
    for kind in kinds.UNWATCHED:
        wanted[kind.group, kind.plural] = {"get", "list"} | written
    for kind in kinds.RESOURCES:
        wanted[kind.group, kind.plural] = seen
        wanted[kind.group, f"{kind.plural}/status"] = {"patch"}
    wanted[kinds.ENGINE.group, kinds.ENGINE.plural] = seen | written
    # Before a Job goes whose build no watch has told of.
    wanted[kinds.ENGINE_BUILD.group, kinds.ENGINE_BUILD.plural] = {"get"} | seen
    claims = kinds.RESOURCE_CLAIM_TEMPLATE
    wanted[claims.group, claims.plural] = {"create"}
    wanted["", "pods/log"] = {"get"}
    wanted["", kinds.CLAIM.plural] = {"get"}
    wanted[kinds.EVENT.group, kinds.EVENT.plural] = {"create"}
    assert rights == wanted


def test_no_right_reaches_secrets_or_is_a_wildcard() -> None:
    for (kind, _), manifest in render().items():
        if kind in ("ClusterRole", "Role"):
            for group, resource in allowed(manifest["rules"]):
                assert "secrets" not in resource
                assert "*" not in (group, resource)


def test_the_lease_is_the_operators_own() -> None:
    rules = render()["Role", "nacelle-operator-lease"]["rules"]
    assert [rule.get("resourceNames") for rule in rules] == [None, [LEASE_NAME]]


def test_named_namespaces_get_roles_and_the_cluster_none() -> None:
    made = render("--set", "namespaces={a}")
    assert ("Role", "nacelle-operator") in made
    assert made["Role", "nacelle-operator"]["metadata"]["namespace"] == "a"
    assert not [kind for kind, _ in made if kind.startswith("ClusterRole")]


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        ("replicas=-1", "replicas"),
        ("logLevel=LOUD", "logLevel"),
        ("image.digest=abc", "digest"),
        ("imagePullPolicy=Always", "imagePullPolicy"),
        ("runtimes.x=", "runtimes"),
        ("registry=r/", "registry"),
        ("engines.gracePeriod=soon", "gracePeriod"),
        ("engines.dryRun=yes", "dryRun"),
        ("gpuLabels.driver=x", "driver"),
        ("gpuLabels.major=", "major"),
        ("tritons.x=", "tritons"),
        ("triton.port=1", "port"),
    ],
)
def test_the_schema_names_what_it_refuses(flag: str, field: str) -> None:
    done = helm("template", "n", str(CHART), "--kube-version", "1.36", "--set", flag)
    assert done.returncode != 0
    assert field in done.stderr
