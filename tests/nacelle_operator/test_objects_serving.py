"""The objects that serve an engine, each by what its reader needs of it."""

import argparse
from typing import Any

import pytest
from serving_cases import IMAGES, TRITONS, deployment, engine

from nacelle_engine.abi import ABI
from nacelle_operator.api.engine import Engine
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.controller_revision import (
    Revision,
    controller_revision,
    read_revision,
)
from nacelle_operator.objects.gpu_labels import GpuLabels
from nacelle_operator.objects.pod_affinity import pod_affinity
from nacelle_operator.objects.pod_disruption_budget import pod_disruption_budget
from nacelle_operator.objects.service import service
from nacelle_operator.objects.serving_deployment import serving_deployment
from nacelle_operator.objects.serving_pod import Served, pod_template
from nacelle_runtime.child import LEAVE
from nacelle_runtime.commands import serve

TERMS = "requiredDuringSchedulingIgnoredDuringExecution"


def template(
    resource: InferenceDeployment | None = None, draft: Engine | None = None, **engine_spec: Any
) -> dict[str, Any]:
    resource = resource or deployment()
    triton = TRITONS[ABI] if resource.spec.frontends.triton.enabled else None
    served = Served(engine(**engine_spec), IMAGES[ABI], "a", 1, triton, draft)
    return pod_template(resource, served)


def container(made: dict[str, Any]) -> dict[str, Any]:
    (only,) = made["spec"]["containers"]
    return dict(only)


def revision() -> Revision:
    return Revision(3, "b", "eng-x", "f", {"spec": {"containers": []}})


def test_a_revision_is_read_as_it_was_kept() -> None:
    assert read_revision(controller_revision(deployment(), revision())) == revision()


def test_the_deployment_says_its_replicas_and_its_slot() -> None:
    made = serving_deployment(deployment(replicas=0, rollout={"maxSurge": 2}), revision())
    assert made["metadata"]["name"] == "chat-b"
    assert made["spec"]["replicas"] == 0
    assert made["spec"]["selector"]["matchLabels"] == {
        "nacelle.dev/inference-deployment": "chat",
        "nacelle.dev/slot": "b",
    }
    assert made["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 2}
    assert made["spec"]["template"] == revision().template


def test_the_selector_finds_the_pods_it_makes() -> None:
    labels = template()["metadata"]["labels"]
    selector = serving_deployment(deployment(), Revision(1, "a", "e", "f", {}))["spec"]["selector"]
    assert selector["matchLabels"].items() <= labels.items()
    assert service(deployment(), "a")["spec"]["selector"].items() <= labels.items()


def test_the_service_follows_the_port_by_its_name() -> None:
    resource = deployment(frontends={"openai": {"port": 9000}})
    (port,) = service(resource, "a")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (9000, "openai")
    assert container(template(resource))["ports"] == [{"name": "openai", "containerPort": 9000}]


@pytest.mark.parametrize(("replicas", "wanted"), [(0, False), (1, False), (2, True)])
def test_the_budget(replicas: int, wanted: bool) -> None:
    made = pod_disruption_budget(deployment(replicas=replicas))
    assert (made is not None) == wanted
    assert made is None or made["spec"]["maxUnavailable"] == 1


def test_pods_are_restricted_and_hold_no_token() -> None:
    spec = template()["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = container(template())["securityContext"]
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}


def test_the_store_is_mounted_read_only_and_scratch_is_sized() -> None:
    made = template()
    volumes = {volume["name"]: volume for volume in made["spec"]["volumes"]}
    assert volumes["store"]["persistentVolumeClaim"] == {"claimName": "engines", "readOnly": True}
    assert volumes["tmp"]["emptyDir"]["sizeLimit"]
    mounts = {mount["name"]: mount for mount in container(made)["volumeMounts"]}
    assert mounts["store"] == {"name": "store", "mountPath": "/store", "readOnly": True}
    assert {"name": "HOME", "value": "/tmp"} in container(made)["env"]


ARGUMENTS = {
    "nothing asked for": ({}, {}, []),
    "larger chunks": (
        {"chunkedPrefillTokens": 8192},
        {},
        ["--chunked-prefill-tokens", "8192"],
    ),
    "everything": (
        {
            "maxBatchSize": 8,
            "queueLimit": 9,
            "kvCacheFreeMemoryPercent": 50,
            "prefixCaching": False,
            "schedulerPolicy": "MAX_UTILIZATION",
            "chunkedPrefill": False,
        },
        {"port": 9000, "apiKeysSecretRef": {"name": "keys", "key": "list"}},
        [
            "--max-batch-size",
            "8",
            "--queue-limit",
            "9",
            "--kv-cache-free-memory-percent",
            "50",
            "--api-keys-file",
            "/etc/nacelle/api-keys/keys",
            "--no-prefix-caching",
            "--no-chunked-prefill",
        ],
    ),
}


SMALL = engine("3" * 64, bytes=1 << 30)
DRAFTING = {
    "from the text": ({"method": "PromptLookup"}, ("prompt-lookup", None, None), None),
    "by an engine": (
        {"method": "DraftEngine", "tokens": 2, "draftEngineRef": {"name": SMALL.metadata.name}},
        ("draft", 2, "/store/engines/" + "3" * 64),
        SMALL,
    ),
}


@pytest.mark.parametrize("case", DRAFTING)
def test_drafting_is_asked_for_in_the_runtimes_words(case: str) -> None:
    speculative, (method, tokens, bundle), draft = DRAFTING[case]
    made = template(deployment(runtime={"speculative": speculative}), draft)
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.configure(parser)
    parsed = parser.parse_args(container(made)["args"][1:])
    assert (parsed.speculation, parsed.speculative_tokens) == (method, tokens)
    assert (parsed.draft_engine and str(parsed.draft_engine)) == bundle
    assert made["metadata"]["labels"].get("nacelle.dev/draft-engine") == (
        draft.metadata.name if draft else None
    )


def test_an_engine_that_drafts_is_read_into_memory_too() -> None:
    made = container(template(draft=engine("3" * 64, bytes=7 << 30), bytes=1 << 30))
    assert made["resources"]["limits"]["memory"] == "34Gi"
    assert made["startupProbe"]["failureThreshold"] == 120 + (8 << 30) // (20 << 20)


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments_are_the_runtimes_own(case: str) -> None:
    runtime, openai, more = ARGUMENTS[case]
    resource = deployment(runtime=runtime, frontends={"openai": openai})
    made = container(template(resource))["args"]
    assert made[0] == "serve"
    assert made[-len(more) :] == more or not more
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.configure(parser)
    parsed = parser.parse_args(made[1:])
    assert str(parsed.bundle) == "/store/engines/" + "1" * 64
    assert parsed.model_name == "smollm2"
    assert parsed.port == openai.get("port", 8000)
    assert parsed.no_prefix_caching is not runtime.get("prefixCaching", True)
    assert parsed.chunked_prefill_tokens == runtime.get("chunkedPrefillTokens")
    assert parsed.no_chunked_prefill is not runtime.get("chunkedPrefill", True)
    assert parsed.scheduler_policy == runtime.get("schedulerPolicy", "GUARANTEED_NO_EVICT")


def test_api_keys_come_from_the_secret() -> None:
    openai = {"apiKeysSecretRef": {"name": "secret", "key": "list"}}
    made = template(deployment(frontends={"openai": openai}))
    volume = next(v for v in made["spec"]["volumes"] if v["name"] == "api-keys")
    assert volume["secret"] == {"secretName": "secret", "items": [{"key": "list", "path": "keys"}]}


def test_tls_is_spoken_with_the_secrets_certificate() -> None:
    resource = deployment(frontends={"openai": {"tlsSecretRef": {"name": "certificate"}}})
    made = template(resource)
    volume = next(v for v in made["spec"]["volumes"] if v["name"] == "tls")
    assert volume["secret"] == {
        "secretName": "certificate",
        "items": [{"key": name, "path": name} for name in ("tls.crt", "tls.key")],
    }
    serving = container(made)
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.configure(parser)
    parsed = parser.parse_args(serving["args"][1:])
    (mount,) = (m for m in serving["volumeMounts"] if m["name"] == "tls")
    assert [str(parsed.tls_certificate), str(parsed.tls_key)] == [
        f"{mount['mountPath']}/tls.crt",
        f"{mount['mountPath']}/tls.key",
    ]
    probes = (serving[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness"))
    assert [probe["scheme"] for probe in probes] == ["HTTPS"] * 3
    assert "scheme" not in container(template())["readinessProbe"]["httpGet"]


def test_time_to_drain_lies_within_the_grace_period() -> None:
    made = template()
    args = container(made)["args"]
    drain = int(args[args.index("--drain-seconds") + 1])
    *shell, script = container(made)["lifecycle"]["preStop"]["exec"]["command"]
    told, slept = script.split("; ")
    assert (shell, told) == (["sh", "-c"], f"kill -{LEAVE.name.removeprefix('SIG')} 1")
    withdrawn = int(slept.removeprefix("exec sleep "))
    assert withdrawn + drain < made["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(("size", "memory"), [(1, "3Gi"), (170_000_000, "3Gi"), (8 << 30, "34Gi")])
def test_memory_follows_the_engines_size(size: int, memory: str) -> None:
    resources = container(template(bytes=size))["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"] == memory
    assert "cpu" not in resources["limits"]


def test_a_large_engine_gets_longer_to_start() -> None:
    small, large = (container(template(bytes=size))["startupProbe"] for size in (0, 140 << 30))
    assert small["failureThreshold"] == 120
    assert large["failureThreshold"] > 7000


def test_what_a_user_sets_on_pods() -> None:
    pod = {
        "labels": {"team": "x"},
        "annotations": {"note": "y"},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "k", "operator": "Exists"}],
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "high",
        "imagePullSecrets": ["pull"],
        "resources": {"requests": {"cpu": 2}, "limits": {"memory": "8Gi"}},
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
    }
    made = template(deployment(pod=pod))
    assert made["metadata"]["labels"]["team"] == "x"
    assert made["metadata"]["annotations"] == {"note": "y"}
    for name in ("nodeSelector", "topologySpreadConstraints", "priorityClassName"):
        assert made["spec"][name] == pod[name]
    assert made["spec"]["tolerations"] == pod["tolerations"]
    assert made["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert container(made)["resources"] == pod["resources"]
    assert container(made)["env"][1:] == pod["env"]


def test_a_gpu_engine_has_its_gpu_and_is_let_onto_gpu_nodes() -> None:
    made = template(architecture="sm_90")
    assert container(made)["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in (
        made["spec"]["tolerations"]
    )


def test_a_users_resources_leave_a_gpu_engine_its_gpu() -> None:
    pod = {"resources": {"limits": {"memory": "64Gi"}}}
    limits = container(template(deployment(pod=pod), architecture="sm_90"))["resources"]["limits"]
    assert limits == {"memory": "64Gi", "nvidia.com/gpu": "1"}


@pytest.mark.parametrize(("product", "wanted"), [(None, None), ("NVIDIA-H200", ["NVIDIA-H200"])])
def test_a_tuned_gpu_engine_stays_on_its_product(product: str | None, wanted: Any) -> None:
    spec = engine(architecture="sm_90", gpuProduct=product).spec
    (term,) = pod_affinity(spec)["nodeAffinity"][TERMS]["nodeSelectorTerms"]
    values = {
        e["key"].removeprefix("nvidia.com/gpu."): e["values"] for e in term["matchExpressions"]
    }
    assert (values["compute.major"], values["compute.minor"]) == (["9"], ["0"])
    assert values.get("product") == wanted


def test_its_nodes_may_have_other_labels() -> None:
    resource, labels = deployment(), GpuLabels("x/major", "x/minor", "x/product")
    gpu = engine(architecture="sm_90", gpuProduct="A")
    made = pod_template(resource, Served(gpu, IMAGES[ABI], "a", 1, gpu_labels=labels))
    (term,) = made["spec"]["affinity"]["nodeAffinity"][TERMS]["nodeSelectorTerms"]
    assert [e["key"] for e in term["matchExpressions"]] == ["x/major", "x/minor", "x/product"]


def test_a_sufficient_level_or_an_unlabelled_amd64_node() -> None:
    terms = pod_affinity(engine().spec)["nodeAffinity"][TERMS]["nodeSelectorTerms"]
    label, arch = "nacelle.dev/cpu-level", "kubernetes.io/arch"
    known = {"key": label, "operator": "In", "values": ["x86-64-v3", "x86-64-v4"]}
    assert [term["matchExpressions"] for term in terms] == [
        [known],
        [
            {"key": label, "operator": "DoesNotExist"},
            {"key": arch, "operator": "In", "values": ["amd64"]},
        ],
    ]


def test_a_users_affinity_is_kept_and_each_of_its_terms_narrowed() -> None:
    zone = {"key": "zone", "operator": "In", "values": ["a"]}
    field = {"key": "metadata.name", "operator": "In", "values": ["n1"]}
    wished = {
        "podAntiAffinity": {"x": 1},
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1}],
            TERMS: {"nodeSelectorTerms": [{"matchExpressions": [zone]}, {"matchFields": [field]}]},
        },
    }
    made = pod_affinity(engine(architecture="x86-64-v4").spec, wished)
    assert made["podAntiAffinity"] == {"x": 1}
    assert made["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    terms = made["nodeAffinity"][TERMS]["nodeSelectorTerms"]
    assert len(terms) == 4
    assert all(term["matchExpressions"][0]["key"] == "nacelle.dev/cpu-level" for term in terms)
    assert [zone in term["matchExpressions"] for term in terms] == [True, False, True, False]
    assert [term.get("matchFields") for term in terms] == [None, [field], None, [field]]
