"""The generated definitions: up to date, and what the API server refuses by them."""

import copy
import json
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import yaml

from nacelle_operator.api import reference
from nacelle_operator.api.crd import RESOURCES, write

ROOT = Path(__file__).parents[2]
KEY = "3f9c1b7a52d86e04" + "0" * 48
GENERATED = ("crds", "charts/nacelle/templates/crds")


def test_the_files_are_what_the_models_say(tmp_path: Path) -> None:
    write(tmp_path)
    for folder in GENERATED:
        made = {file.name: file.read_text() for file in (tmp_path / folder).iterdir()}
        kept = {file.name: file.read_text() for file in (ROOT / folder).iterdir()}
        assert made == kept, "run `make generate`"


def test_the_reference_is_what_the_models_say() -> None:
    kept = (ROOT / "docs" / "reference" / "api.md").read_text()
    assert reference.render() == kept, "run `make generate`"


BASES: dict[str, dict[str, Any]] = {
    "enginebuilds": {
        "kind": "EngineBuild",
        "metadata": {"name": "m"},
        "spec": {
            "modelName": "m",
            "model": {"persistentVolumeClaim": {"claimName": "models"}},
            "targets": [{"name": "cpu", "architecture": "x86-64-v3"}],
            "store": {"persistentVolumeClaim": {"claimName": "engines"}},
        },
    },
    "engines": {
        "kind": "Engine",
        "metadata": {"name": f"eng-{KEY[:16]}"},
        "spec": {
            "key": KEY,
            "modelName": "m",
            "architecture": "x86-64-v4",
            "abi": "a",
            "limits": {},
            "store": {"persistentVolumeClaim": {"claimName": "engines"}},
            "path": f"engines/{KEY}",
            "digest": "0" * 64,
            "bytes": 1,
        },
    },
    "inferencedeployments": {
        "kind": "InferenceDeployment",
        "metadata": {"name": "m"},
        "spec": {"engine": {"buildRef": {"name": "m", "target": "cpu"}}},
    },
}
BUILD, ENGINE, SERVE = BASES
HUB = {"repo": "a/b", "revision": "0" * 40}
CLAIM = {"claimName": "models"}
REF = {"name": "m", "target": "cpu"}
SECRET = {"name": "keys", "key": "list"}
TLS = {"tlsSecretRef": {"name": "certificate"}}
CPU = {"architecture": "x86-64-v3"}
AMPERE = {"name": "a", "architecture": "sm_80"}
HOPPER = {"name": "h", "architecture": "sm_90", "gpuProducts": ["NVIDIA-H200"]}


def canary(*weights: int) -> dict[str, Any]:
    return {"steps": [{"weightPercent": weight} for weight in weights]}


def routed(**route: Any) -> dict[str, Any]:
    route = {"parentRefs": [{"name": "gate"}], **route}
    return {"strategy": "Canary", "canary": {**canary(10), "route": route}}


def scaled(*metrics: dict[str, Any]) -> dict[str, Any]:
    return {"autoscaling": {"maxReplicas": 2, "metrics": list(metrics)}}


PROMETHEUS = {"serverAddress": "http://prometheus:9090"}


def keda(**prometheus: Any) -> dict[str, Any]:
    told = {**PROMETHEUS, **prometheus}
    return {"autoscaling": {"provider": "KEDA", "maxReplicas": 2, "prometheus": told}}


POOLED = {"inferencePool": {"endpointPickerRef": {"name": "picker"}}}


def sleepy(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec that may scale to zero."""
    (kept,) = keda().values()
    return {**spec, "autoscaling": {**kept, "minReplicas": 0, **spec.get("autoscaling", {})}}


def drafting(**speculative: Any) -> dict[str, Any]:
    return {"runtime": {"speculative": speculative}}


def traced(endpoint: str, *egress: dict[str, Any], variable: str = "ENDPOINT") -> dict[str, Any]:
    """Restricted pods that export traces."""
    env = [{"name": f"OTEL_EXPORTER_OTLP_{variable}", "value": endpoint}]
    return {"pod": {"env": env}, "network": {"policy": "Restricted", "egress": list(egress)}}


def monitored(**labels: str) -> dict[str, Any]:
    return {"monitoring": {"podMonitor": {"labels": labels}}}


CPU = {"name": "cpu", "architecture": "x86-64-v3"}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (BUILD, {"model": {"huggingFace": HUB, "persistentVolumeClaim": CLAIM}}, "exactly one source"),
    (BUILD, {"model": {"persistentVolumeClaim": None}}, "exactly one source"),
    (BUILD, {"model": {"oci": {}}}, "oci is not built yet"),
    (BUILD, {"model": {"s3": {"bucket": "b"}}}, "s3 is not built yet"),
    (
        BUILD,
        {"model": {"persistentVolumeClaim": None, "huggingFace": {**HUB, "revision": "main"}}},
        "spec.model.huggingFace.revision",
    ),
    (BUILD, {"model": {"persistentVolumeClaim": {"path": "../x"}}}, "path must be relative"),
    (BUILD, {"targets": [{"name": "t", "architecture": "sm_91"}]}, 'Unsupported value: "sm_91"'),
    (
        BUILD,
        {"quantization": {"kvCache": "FP8"}, "targets": [HOPPER, AMPERE]},
        "quantization.kvCache FP8 needs sm_89 or later, a target is sm_80",
    ),
    (
        BUILD,
        {"targets": [{"name": "t", "architecture": "x86-64-v3", "gpuProducts": ["H200"]}]},
        "gpuProducts has no meaning for a CPU architecture",
    ),
    (
        BUILD,
        {"targets": [{**CPU, "deviceClaim": {}}]},
        "deviceClaim has no meaning for a CPU architecture: leave it out",
    ),
    *(
        (
            BUILD,
            {
                "targets": [
                    {**HOPPER, "deviceClaim": {}, "resources": {section: {"nvidia.com/gpu": 1}}}
                ]
            },
            "deviceClaim is a GPU already: leave nvidia.com/gpu out of resources",
        )
        for section in ("limits", "requests")
    ),
    (
        BUILD,
        {"targets": [{**HOPPER, "deviceClaim": {"selectors": [""]}}]},
        "spec.targets[0].deviceClaim.selectors[0]",
    ),
    (
        BUILD,
        {"targets": [{**CPU, "prepare": {}}]},
        "prepare has no meaning for a CPU architecture, whose one Job needs no GPU: leave it out",
    ),
    (BUILD, {"targets": [{**CPU, "maxMemory": "1.2.3"}]}, "maxMemory is no amount of memory"),
    (BUILD, {"targets": [{**HOPPER, "minGpuMemory": "1.2.3"}]}, "minGpuMemory is no amount of"),
    (
        BUILD,
        {"targets": [{**CPU, "minGpuMemory": "79Gi"}]},
        "minGpuMemory has no meaning for a CPU architecture: leave it out",
    ),
    (
        BUILD,
        {"targets": [{**HOPPER, "minGpuMemory": "79Gi", "deviceClaim": {}}]},
        "minGpuMemory is asked of node labels: with deviceClaim, say it in its selectors",
    ),
    (BUILD, {"targets": []}, "spec.targets"),
    (BUILD, {"limits": {"maxInputLen": 4096}}, "limits.maxInputLen must be below limits.maxSeqLen"),
    (
        BUILD,
        {"limits": {"maxNumTokens": 8}},
        "limits.maxNumTokens must be at least limits.maxBatchSize",
    ),
    (BUILD, {"limits": {"maxBatchSize": 0}}, "spec.limits.maxBatchSize"),
    (BUILD, {"parallelism": {"tensor": 2}}, "parallelism.tensor above 1 is not built yet"),
    (BUILD, {"parallelism": {"pipeline": 2}}, "parallelism.pipeline above 1 is not built yet"),
    (BUILD, {"backend": "tensorrt"}, "backend tensorrt compiles for GPU architectures: use native"),
    (
        BUILD,
        {"backend": "tensorrt", "targets": [{"name": "t", "architecture": "sm_80"}]},
        "backend tensorrt multiplies FP8 from sm_89 on, a target is sm_80",
    ),
    (
        BUILD,
        {"backend": "tensorrt", "targets": [HOPPER], "determinism": "BatchInvariant"},
        "determinism BatchInvariant is not built for backend tensorrt",
    ),
    (BUILD, {"quantization": {"algorithm": "FP8"}}, "quantization.algorithm FP8 (static scales)"),
    (BUILD, {"quantization": {"algorithm": "INT4"}}, 'Unsupported value: "INT4"'),
    (BUILD, {"quantization": {"kvCache": "FP8"}}, "quantization.kvCache FP8 is not built yet"),
    (BUILD, {"quantization": {"lmHead": "FP8"}}, "quantization.lmHead FP8 is not built yet: use"),
    (
        BUILD,
        {"quantization": {"lmHead": "FP8"}, "targets": [HOPPER]},
        "quantization.lmHead FP8 is not built yet: use NONE",
    ),
    (BUILD, {"quantization": {"calibration": {}}}, "quantization.calibration has no meaning"),
    (
        BUILD,
        {"quantization": {"kvCache": "FP8", "calibration": {"percentile": "99.9"}}},
        "calibration.percentile has no meaning with method AbsMax",
    ),
    (
        BUILD,
        {"quantization": {"kvCache": "FP8", "calibration": {"path": "../a.txt"}}},
        "quantization.calibration.path must name a .txt or .jsonl file",
    ),
    (
        BUILD,
        {"quantization": {"kvCache": "FP8", "calibration": {"path": "a.parquet"}}},
        "quantization.calibration.path must name a .txt or .jsonl file",
    ),
    (
        BUILD,
        {
            "model": {"persistentVolumeClaim": None, "huggingFace": HUB},
            "quantization": {"kvCache": "FP8", "calibration": {"path": "a.txt"}},
        },
        "which only a persistentVolumeClaim has",
    ),
    (BUILD, {"quantization": {"calibration": {"samples": 0}}}, "calibration.samples"),
    (
        BUILD,
        {"quantization": {"kvCache": "FP8"}, "targets": [HOPPER, {"name": "c", **CPU}]},
        "quantization.kvCache FP8 is not built yet for CPU architectures",
    ),
    (
        BUILD,
        {"quantization": {"computeType": "float32"}, "targets": [HOPPER]},
        "quantization.computeType float32 is not built yet for GPU architectures",
    ),
    (BUILD, {"accuracy": {"maxKLDivergence": "much"}}, "spec.accuracy.maxKLDivergence"),
    (BUILD, {"job": {"attemptTimeout": "soon"}}, "spec.job.attemptTimeout"),
    (ENGINE, {"key": "f" * 64}, "metadata.name must be eng-ffffffffffffffff"),
    (ENGINE, {"path": "/etc"}, "path must be relative to the store's root"),
    (ENGINE, {"architecture": "sm_91"}, 'Unsupported value: "sm_91"'),
    (SERVE, {"engine": {"engineRef": {"name": "e"}}}, "exactly one of buildRef and engineRef"),
    (SERVE, {"engine": {"buildRef": None}}, "exactly one of buildRef and engineRef"),
    (SERVE, {"replicas": -1}, "spec.replicas"),
    (
        SERVE,
        {"autoscaling": {"provider": "KEDA", "maxReplicas": 2}},
        "autoscaling.provider KEDA asks a Prometheus for the pods' metrics: say where it is in "
        "autoscaling.prometheus.serverAddress",
    ),
    (
        SERVE,
        {"autoscaling": {"maxReplicas": 2, "prometheus": PROMETHEUS}},
        "autoscaling.prometheus has a meaning with provider KEDA only: leave it out",
    ),
    (SERVE, {"inferencePool": {}}, "spec.inferencePool.endpointPickerRef"),
    (
        SERVE,
        {**POOLED, "frontends": {"openai": TLS}},
        "inferencePool sends plain HTTP to pods: end TLS at the Gateway, and leave "
        "frontends.openai.tlsSecretRef out",
    ),
    (
        SERVE,
        sleepy(POOLED),
        "autoscaling.minReplicas 0 is not built yet with inferencePool, which leads past what "
        "answers for sleeping pods; use 1",
    ),
    (SERVE, keda(serverAddress="prometheus:9090"), "autoscaling.prometheus.serverAddress"),
    (SERVE, keda(serverAddress="http://p:9090/?a=b"), "autoscaling.prometheus.serverAddress"),
    (
        SERVE,
        keda(authentication={"name": "token", "modes": []}),
        "autoscaling.prometheus.authentication.modes",
    ),
    (
        SERVE,
        keda(authentication={"name": "token", "modes": ["apiKey"]}),
        'Unsupported value: "apiKey"',
    ),
    (SERVE, {"autoscaling": {"minReplicas": 2}}, "spec.autoscaling.maxReplicas"),
    (SERVE, {"autoscaling": {"minReplicas": -1, "maxReplicas": 2}}, "spec.autoscaling.minReplicas"),
    (
        SERVE,
        {"autoscaling": {"minReplicas": 0, "maxReplicas": 2}},
        "autoscaling.minReplicas 0 needs provider KEDA: an HPA keeps 1 at least",
    ),
    (
        SERVE,
        sleepy({"autoscaling": {"minReplicas": 1, "idleSeconds": 60}}),
        "autoscaling.idleSeconds has a meaning with minReplicas 0 only: leave it out",
    ),
    (SERVE, sleepy({"autoscaling": {"idleSeconds": 29}}), "spec.autoscaling.idleSeconds"),
    (
        SERVE,
        sleepy({"frontends": {"triton": {"enabled": True}}}),
        "autoscaling.minReplicas 0 is not built yet beside frontends.triton: nobody would answer "
        "at its ports; use 1",
    ),
    (
        SERVE,
        sleepy({"frontends": {"openai": TLS}}),
        "autoscaling.minReplicas 0 is not built yet with frontends.openai.tlsSecretRef: what "
        "answers for sleeping pods has no certificate; use 1, or end TLS at a Gateway",
    ),
    (
        SERVE,
        sleepy({"rollout": routed()}),
        "autoscaling.minReplicas 0 is not built yet with rollout.canary.route, which leads past "
        "what answers for sleeping pods; use 1",
    ),
    (
        SERVE,
        {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}},
        "autoscaling.minReplicas must not be above autoscaling.maxReplicas",
    ),
    (
        SERVE,
        scaled({"type": "QueuedRequests", "averagePercent": 50}),
        "averagePercent has no meaning for QueuedRequests: use averageValue",
    ),
    (
        SERVE,
        scaled({"type": "CPU", "averageValue": 50}),
        "averageValue has a meaning for QueuedRequests only: use averagePercent",
    ),
    (SERVE, scaled({"type": "Memory"}), 'Unsupported value: "Memory"'),
    (SERVE, scaled({"type": "KVUtilization", "averagePercent": 101}), "averagePercent"),
    (SERVE, scaled({"type": "CPU"}, {"type": "CPU"}), "Duplicate value"),
    (SERVE, drafting(method="ngram"), 'Unsupported value: "ngram"'),
    (SERVE, drafting(method="PromptLookup", tokens=17), "spec.runtime.speculative.tokens"),
    (SERVE, drafting(method="DraftEngine"), "method DraftEngine needs draftEngineRef"),
    (
        SERVE,
        drafting(method="PromptLookup", draftEngineRef={"name": "eng-1"}),
        "draftEngineRef has a meaning with method DraftEngine only: leave it out",
    ),
    (SERVE, {"frontends": {"triton": {"enabled": True, "httpPort": 8000}}}, "must differ"),
    (SERVE, {"frontends": {"triton": {"enabled": True, "metricsPort": 8001}}}, "must differ"),
    (SERVE, {"frontends": {"triton": {"grpcPort": 80}}}, "spec.frontends.triton.grpcPort"),
    (
        SERVE,
        {"frontends": {"triton": {"enabled": True}, "openai": {"apiKeysSecretRef": SECRET}}},
        "frontends.openai.apiKeysSecretRef does not guard frontends.triton",
    ),
    (SERVE, {"frontends": {"openai": {"enabled": False}}}, "openai.enabled cannot be false"),
    (
        SERVE,
        {"frontends": {"triton": {"enabled": True}, "openai": TLS}},
        "frontends.openai.tlsSecretRef does not encrypt frontends.triton",
    ),
    (
        SERVE,
        {"frontends": {"openai": TLS}, "rollout": routed()},
        "rollout.canary.route sends plain HTTP to pods",
    ),
    (SERVE, {"frontends": {"openai": {"port": 80}}}, "spec.frontends.openai.port"),
    (SERVE, {"rollout": {"strategy": "Canary"}}, "Canary needs rollout.canary.steps"),
    (SERVE, {"rollout": {"strategy": "Recreate"}}, 'Unsupported value: "Recreate"'),
    (SERVE, {"rollout": {"canary": canary(5)}}, "canary has a meaning with strategy Canary only"),
    (SERVE, {"rollout": {"blueGreen": {}}}, "blueGreen has a meaning with strategy BlueGreen only"),
    (SERVE, {"rollout": {"strategy": "Canary", "canary": canary()}}, "canary.steps"),
    (SERVE, {"rollout": {"strategy": "Canary", "canary": canary(0)}}, "weightPercent"),
    (SERVE, {"rollout": {"strategy": "Canary", "canary": canary(50, 20)}}, "must not fall from"),
    (SERVE, {"rollout": routed(parentRefs=[])}, "route.parentRefs"),
    (SERVE, {"rollout": routed(hostnames=["Chat.example.com"])}, "route.hostnames[0]"),
    (
        SERVE,
        {"rollout": {"strategy": "BlueGreen", "blueGreen": {"autoPromote": False, "pause": "1m"}}},
        "blueGreen.pause has no meaning with autoPromote false",
    ),
    (SERVE, {"rollout": {"strategy": "BlueGreen", "blueGreen": {"pause": "1"}}}, "blueGreen.pause"),
    (SERVE, {"rollout": {"checks": {"maxErrorPercent": 5}}}, "no meaning with strategy Rolling"),
    (SERVE, {"rollout": {"strategy": "BlueGreen", "checks": {}}}, "needs maxErrorPercent or"),
    (SERVE, {"rollout": {"promote": "all"}}, "spec.rollout.promote"),
    (SERVE, {"rollout": {"revisionHistoryLimit": -1}}, "revisionHistoryLimit"),
    (SERVE, {"rollout": {"maxSurge": 0}}, "cannot both be 0"),
    (
        SERVE,
        {"runtime": {"chunkedPrefill": False, "chunkedPrefillTokens": 512}},
        "has no meaning if chunkedPrefill is false",
    ),
    (SERVE, {"pod": {"labels": {"nacelle.dev/slot": "b"}}}, "set by Nacelle"),
    (SERVE, {"pod": {"env": [{"name": "HOME", "value": "/"}]}}, "are set by Nacelle"),
    (SERVE, {"pod": {"env": [{"name": "A", "value": "", "valueFrom": {}}]}}, "not both"),
    (SERVE, {"pod": {"resources": {"limits": {"memory": "much"}}}}, "limits.memory"),
    (SERVE, {"network": {"policy": "Closed"}}, 'Unsupported value: "Closed"'),
    (SERVE, {"network": {"egress": [{}]}}, "network.egress has a meaning with policy Restricted"),
    (SERVE, {"network": {"policy": "Restricted", "egress": [{}] * 17}}, "spec.network.egress"),
    (SERVE, traced("http://collector.telemetry.svc:4318"), "allow the way to the collector in"),
    (SERVE, traced("https://localhost.example.com"), "allow the way to the collector in"),
    (SERVE, traced("http://c:4318", variable="TRACES_ENDPOINT"), "would hold back the traces"),
    (SERVE, monitored(**{"nacelle.dev/slot": "b"}), "monitoring.podMonitor.labels: keys below"),
    (SERVE, monitored(release="a b"), "spec.monitoring.podMonitor.labels.release"),
    (SERVE, {"monitoring": {"serviceMonitor": {}}}, 'unknown field "spec.monitoring.serviceMon'),
    (SERVE, {"pod": {"securityContext": {"privileged": True}}}, 'unknown field "spec.pod.sec'),
]
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    (BUILD, {"targets": [{**CPU, "maxMemory": "9Gi"}]}),
    (BUILD, {"targets": [{**HOPPER, "minGpuMemory": "79Gi"}]}),
    (
        BUILD,
        {
            "targets": [
                {
                    **HOPPER,
                    "deviceClaim": {"selectors": ["true"]},
                    "resources": {"limits": {"cpu": 4}},
                }
            ]
        },
    ),
    (
        BUILD,
        {
            "targets": [
                {
                    **HOPPER,
                    "prepare": {
                        "resources": {"requests": {"cpu": 8}},
                        "nodeSelector": {"pool": "cpu"},
                    },
                }
            ]
        },
    ),
    (
        BUILD,
        {
            "targets": [
                {
                    **CPU,
                    "maxMemory": "4Gi",
                    "resources": {"requests": {"memory": "4096Mi", "cpu": 1}},
                }
            ]
        },
    ),
    *((plural, {}) for plural in BASES),
    (SERVE, {"runtime": {"schedulerPolicy": "MAX_UTILIZATION", "chunkedPrefill": False}}),
    (BUILD, {"model": {"persistentVolumeClaim": None, "huggingFace": HUB}}),
    (BUILD, {"model": {"persistentVolumeClaim": {"path": "a/b..c"}}}),
    (BUILD, {"quantization": {"algorithm": "NONE", "computeType": "float32"}}),
    (BUILD, {"quantization": {"algorithm": "FP8", "kvCache": "FP8"}, "targets": [HOPPER]}),
    (BUILD, {"targets": [HOPPER, AMPERE, {"name": "l", "architecture": "sm_89"}]}),
    (SERVE, {"pod": {"resources": {"requests": {"cpu": 2, "memory": "4Gi"}}}}),
    (BUILD, {"backend": "tensorrt", "targets": [HOPPER]}),
    (SERVE, drafting(method="PromptLookup")),
    (SERVE, drafting(method="DraftEngine", tokens=2, draftEngineRef={"name": "eng-1"})),
    (SERVE, {"frontends": {"triton": {"enabled": True}}}),
    (SERVE, {"frontends": {"openai": TLS}, "rollout": {"strategy": "BlueGreen"}}),
    (SERVE, {"frontends": {"openai": {"port": 8001, "apiKeysSecretRef": SECRET}}}),
    (SERVE, {"replicas": 9, "autoscaling": {"minReplicas": 2, "maxReplicas": 2}}),
    (SERVE, scaled({"type": "CPU"}, {"type": "QueuedRequests"}, {"type": "KVUtilization"})),
    (SERVE, {"autoscaling": {"maxReplicas": 2, "behavior": {"scaleDown": {"maxPods": 2}}}}),
    (SERVE, keda()),
    (SERVE, sleepy({"replicas": 0})),
    (SERVE, {**POOLED, **keda()}),
    (SERVE, sleepy({"autoscaling": {"idleSeconds": 30}, "frontends": {"openai": {"port": 8001}}})),
    (SERVE, keda(authentication={"name": "token", "modes": ["bearer", "tls"]})),
    (SERVE, {"replicas": 0, "rollout": {"maxSurge": 0, "maxUnavailable": 1}}),
    (SERVE, {"rollout": {"strategy": "BlueGreen"}}),
    (SERVE, {"rollout": {"strategy": "BlueGreen", "checks": {"maxErrorPercent": 0}}}),
    (SERVE, {"rollout": {"strategy": "BlueGreen", "blueGreen": {"pause": "1m"}, "promote": "2"}}),
    (SERVE, {"rollout": {"strategy": "Canary", "canary": canary(5, 5, 100), "promote": "12/3"}}),
    (SERVE, {"rollout": routed(hostnames=["chat.example.com", "*.example.com"])}),
    (SERVE, {"network": {"policy": "Open"}}),
    (SERVE, {"network": {"policy": "Restricted"}}),
    (SERVE, {**traced("http://collector:4318"), "network": {}}),
    (SERVE, traced("http://collector:4318", {"ports": [{"port": 4318}]})),
    (SERVE, traced("http://localhost:4318")),
    (SERVE, traced("http://[::1]:4318/v1/traces", variable="TRACES_ENDPOINT")),
    (SERVE, {"monitoring": {"podMonitor": {}}}),
    (SERVE, monitored(release="kube-prometheus-stack")),
]


def changed(plural: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The base with `spec` merged into its spec; None takes a field away."""
    manifest = copy.deepcopy({"apiVersion": "nacelle.dev/v1alpha1", **BASES[plural]})
    _merge(manifest["spec"], spec)
    return manifest


def _merge(into: dict[str, Any], changes: dict[str, Any]) -> None:
    for name, value in changes.items():
        if value is None:
            del into[name]
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def dry_run(plane: Any, plural: str, manifest: dict[str, Any]) -> dict[str, Any]:
    path = f"/apis/nacelle.dev/v1alpha1/namespaces/default/{plural}"
    result: dict[str, Any] = plane.call(
        "POST", f"{path}?dryRun=All&fieldValidation=Strict", manifest
    )
    return result


@pytest.mark.slow
@pytest.mark.parametrize(("plural", "spec", "message"), REFUSED, ids=lambda v: str(v)[:60])
def test_refused(control_plane: Any, plural: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        dry_run(control_plane, plural, changed(plural, spec))
    answer = json.loads(refusal.value.read())
    assert refusal.value.code in (400, 422)
    assert message in answer["message"]


@pytest.mark.slow
@pytest.mark.parametrize(("plural", "spec"), ACCEPTED, ids=lambda v: str(v)[:60])
def test_accepted(control_plane: Any, plural: str, spec: dict[str, Any]) -> None:
    assert dry_run(control_plane, plural, changed(plural, spec))["spec"]


@pytest.mark.slow
def test_long_names_are_refused(control_plane: Any) -> None:
    for plural, name, message in (
        (BUILD, "x" * 64, "at most 63 characters"),
        (SERVE, "x" * 51, "50 characters"),
        (SERVE, "9lives", "begin with a letter"),
        (SERVE, "a.b", "hold only a-z, 0-9 and '-'"),
    ):
        manifest = changed(plural, {})
        manifest["metadata"]["name"] = name
        with pytest.raises(urllib.error.HTTPError) as refusal:
            dry_run(control_plane, plural, manifest)
        assert message in json.loads(refusal.value.read())["message"]


@pytest.mark.slow
def test_an_engine_cannot_become_another(namespace: Any) -> None:
    made = namespace.create(ENGINE, changed(ENGINE, {}))
    api, name = made["apiVersion"], made["metadata"]["name"]
    others = {"modelName": "o", "abi": "o", "path": "o", "digest": "1" * 64, "bytes": 2}
    for field, other in others.items():
        with pytest.raises(urllib.error.HTTPError) as refusal:
            namespace.merge(api, ENGINE, name, {"spec": {field: other}})
        assert f"{field} cannot change" in json.loads(refusal.value.read())["message"]
    namespace.merge(api, ENGINE, name, {"spec": {"deletionPolicy": "Delete"}})


@pytest.mark.slow
def test_a_fresh_resource_is_unseen(namespace: Any) -> None:
    made = namespace.create(BUILD, changed(BUILD, {}))
    api = made["apiVersion"]
    assert namespace.get(api, BUILD, "m")["status"] == {"observedGeneration": -1}
    path = namespace.path(api, BUILD, "m") + "/status"
    fields = {"status": {"observedGeneration": 1, "progressPercent": 5}}
    namespace.plane.call("PATCH", path, fields, "application/merge-patch+json")
    assert namespace.get(api, BUILD, "m")["status"] == fields["status"]


@pytest.mark.slow
def test_replicas_are_scaled_through_the_subresource(namespace: Any) -> None:
    made = namespace.create(SERVE, changed(SERVE, {}))
    assert made["spec"]["replicas"] == 1
    path = namespace.path(made["apiVersion"], SERVE, "m") + "/scale"
    scale = namespace.plane.call("GET", path)
    assert scale["spec"] == {"replicas": 1}
    scale["spec"]["replicas"] = 3
    namespace.plane.call("PUT", path, scale)
    assert namespace.get(made["apiVersion"], SERVE, "m")["spec"]["replicas"] == 3
    scale = namespace.plane.call("GET", path)
    scale["spec"]["replicas"] = 1001
    with pytest.raises(urllib.error.HTTPError, match="422"):
        namespace.plane.call("PUT", path, scale)


@pytest.mark.slow
@pytest.mark.parametrize("sample", sorted(p.name for p in (ROOT / "samples").glob("*.yaml")))
def test_samples_are_accepted(control_plane: Any, sample: str) -> None:
    plurals = {resource.kind: resource.plural for resource in RESOURCES}
    for manifest in yaml.load_all((ROOT / "samples" / sample).read_text(), yaml.CSafeLoader):
        assert dry_run(control_plane, plurals[manifest["kind"]], manifest)["spec"]
