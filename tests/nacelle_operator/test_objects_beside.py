"""The NetworkPolicy and the PodMonitor, whole; and that they find the pods and their ports."""

from typing import Any

import pytest
from serving_cases import IMAGES, TRITONS, deployment, engine

from nacelle_engine.abi import ABI
from nacelle_operator.objects.network_policy import network_policy
from nacelle_operator.objects.pod_monitor import pod_monitor
from nacelle_operator.objects.service import service
from nacelle_operator.objects.serving_pod import Served, pod_template

METADATA = {
    "name": "chat",
    "namespace": "team",
    "labels": {
        "app.kubernetes.io/name": "nacelle",
        "app.kubernetes.io/managed-by": "nacelle-operator",
        "app.kubernetes.io/component": "runtime",
        "nacelle.dev/inference-deployment": "chat",
    },
    "ownerReferences": [
        {
            "apiVersion": "nacelle.dev/v1alpha1",
            "kind": "InferenceDeployment",
            "name": "chat",
            "uid": "d-uid",
            "controller": True,
            "blockOwnerDeletion": False,
        }
    ],
}
PODS = {"matchLabels": {"nacelle.dev/inference-deployment": "chat"}}
DNS = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
COLLECTOR = {
    "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "telemetry"}}}],
    "ports": [{"protocol": "TCP", "port": 4318}],
}
TRITON = {"frontends": {"triton": {"enabled": True}}}
TLS = {"frontends": {"openai": {"tlsSecretRef": {"name": "certificate"}}}}


def test_the_policy_lets_in_at_the_frontends_ports_and_out_to_dns() -> None:
    assert network_policy(deployment(network={"policy": "Restricted"})) == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": METADATA,
        "spec": {
            "podSelector": PODS,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": "openai"}]}],
            "egress": [DNS],
        },
    }


def test_the_policy_lets_in_at_tritons_ports_and_out_as_the_spec_adds() -> None:
    network = {"policy": "Restricted", "egress": [COLLECTOR, {}]}
    spec = network_policy(deployment(network=network, **TRITON))["spec"]
    names = ["openai", "triton-http", "triton-grpc", "triton-metrics"]
    assert spec["ingress"] == [{"ports": [{"protocol": "TCP", "port": name} for name in names]}]
    assert spec["egress"] == [DNS, COLLECTOR, {}]


OPENAI = {"port": "openai", "path": "/metrics", "scheme": "http"}
ENDPOINTS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "plain": ({}, [OPENAI]),
    "over TLS": (TLS, [{**OPENAI, "scheme": "https", "tlsConfig": {"insecureSkipVerify": True}}]),
    "with Triton": (
        TRITON,
        [OPENAI, {"port": "triton-metrics", "path": "/metrics", "scheme": "http"}],
    ),
}


@pytest.mark.parametrize("case", ENDPOINTS)
def test_the_monitor_reads_every_metrics_port(case: str) -> None:
    spec, endpoints = ENDPOINTS[case]
    assert pod_monitor(deployment(**spec), {"release": "prometheus"}) == {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {**METADATA, "labels": {"release": "prometheus", **METADATA["labels"]}},
        "spec": {
            "selector": PODS,
            "podTargetLabels": ["nacelle.dev/engine", "nacelle.dev/revision"],
            "podMetricsEndpoints": endpoints,
        },
    }


@pytest.mark.parametrize("spec", [{}, TRITON], ids=["plain", "with Triton"])
@pytest.mark.parametrize("slot", ["a", "b"])
def test_both_find_the_pods_of_both_slots_and_name_ports_that_they_have(
    spec: Any, slot: Any
) -> None:
    resource = deployment(network={"policy": "Restricted"}, **spec)
    triton = TRITONS[ABI] if spec else None
    pod = pod_template(resource, Served(engine(), IMAGES[ABI], slot, 1, triton))
    policy, monitor = network_policy(resource)["spec"], pod_monitor(resource, {})["spec"]
    labels = pod["metadata"]["labels"]
    for selector in (policy["podSelector"], monitor["selector"]):
        assert selector["matchLabels"].items() <= labels.items()
    assert set(monitor["podTargetLabels"]) <= labels.keys()
    ports = [p["name"] for c in pod["spec"]["containers"] for p in c["ports"]]
    assert [port["port"] for port in policy["ingress"][0]["ports"]] == ports
    assert {endpoint["port"] for endpoint in monitor["podMetricsEndpoints"]} <= set(ports)
    assert [port["targetPort"] for port in service(resource, None)["spec"]["ports"]] == ports


def test_the_service_remembers_a_monitor() -> None:
    plain = service(deployment(), "a")
    marked = service(deployment(), "a", remembers=["nacelle.dev/pod-monitor"])
    assert "annotations" not in plain["metadata"]
    assert marked["metadata"].pop("annotations") == {"nacelle.dev/pod-monitor": "chat"}
    assert marked == plain
