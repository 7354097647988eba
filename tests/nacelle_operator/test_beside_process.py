"""A NetworkPolicy and a PodMonitor on a real API server, with the latter's own kind and without."""

from collections.abc import Iterator
from typing import Any

import foreign_kinds
import pytest
from control_plane import ControlPlane
from serving_story import API, IMAGES, Story, engine, serve

from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.network_policy import network_policy
from nacelle_operator.objects.pod_monitor import pod_monitor
from nacelle_operator.reconcile import is_contained

pytestmark = pytest.mark.slow

POLICIES = "networking.k8s.io/v1", "networkpolicies"
MONITORS = "monitoring.coreos.com/v1", "podmonitors"
COLLECTOR = {
    "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "telemetry"}}}],
    "ports": [{"port": 4318}],
}
RESTRICTED = {"policy": "Restricted", "egress": [COLLECTOR]}
UNREADABLE = {"policy": "Restricted", "egress": [{"ports": [{"port": "Not a port"}]}]}


@pytest.fixture
def prometheus_operator_installed(control_plane: ControlPlane, until: Any) -> Iterator[None]:
    """The Prometheus Operator's PodMonitor, and nobody who acts on it."""
    origin = foreign_kinds.PROMETHEUS_OPERATOR
    with foreign_kinds.installed(control_plane, until, origin, MONITORS[1]):
        yield


def resource(story: Story) -> InferenceDeployment:
    return InferenceDeployment.parse(story.namespace.get(API, "inferencedeployments", "chat"))


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {c["type"]: c["status"] for c in found["status"]["conditions"]}


def stranger(api: str, kind: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "chat"}, "spec": spec}


def is_untouched(story: Story, place: tuple[str, str], before: dict[str, Any]) -> None:
    after = story.namespace.get(*place, "chat")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_a_policy_is_kept_as_it_was_sent_and_goes_with_the_wish(
    story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", network=RESTRICTED))
    pods = story.run_pods(1)
    story.reaches("Serving")
    story.reaches("NetworkPolicyInPlace", "NetworkRestricted")
    sent = network_policy(resource(story))
    made = story.namespace.get(*POLICIES, "chat")
    assert is_contained(sent, made), "else every look writes it"
    assert [len(rule["ports"]) for rule in made["spec"]["egress"]] == [2, 1]

    story.edit(network={"egress": None})
    story.until(lambda: len(story.namespace.get(*POLICIES, "chat")["spec"]["egress"]) == 1)
    story.edit(network={"policy": "Open"})
    story.until(lambda: not story.namespace.list(*POLICIES))
    story.until(lambda: "NetworkRestricted" not in statuses(story.reaches("Serving")))
    assert story.pods().keys() == pods


def test_a_policy_that_is_refused_lets_no_pod_run_without_it(
    story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", network=UNREADABLE))

    def refusals() -> list[str]:
        events = story.namespace.list("events.k8s.io/v1", "events")
        return [event["note"] for event in events if event["reason"] == "WriteRefused"]

    (told, *_) = story.until(refusals)
    assert "spec.egress[1].ports[0].port: Invalid value" in told
    assert story.namespace.list("apps/v1", "deployments") == []
    story.edit(network=RESTRICTED)
    story.run_pods(1)
    story.reaches("Serving")


def test_a_strangers_policy_is_not_overwritten(story: Story, start_operator: Any) -> None:
    before = story.namespace.create(
        POLICIES[1], stranger(POLICIES[0], "NetworkPolicy", podSelector={})
    )
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", network={"policy": "Restricted"}))
    story.run_pods(1)
    story.reaches("NetworkPolicyNameTaken", "NetworkRestricted")
    story.reaches("Serving")
    story.edit(network={"policy": "Open"})
    story.until(lambda: "NetworkRestricted" not in statuses(story.reaches("Serving")))
    is_untouched(story, POLICIES, before)


def test_without_the_prometheus_operator_everything_else_goes_on(
    story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", monitoring={"podMonitor": {}}))
    story.run_pods(1)
    story.reaches("PodMonitorUnavailable", "Monitoring")
    found = story.reaches("Serving")
    assert statuses(found) == {"Ready": "True", "Available": "True", "Monitoring": "False"}
    story.edit(monitoring={"podMonitor": None})
    story.until(lambda: "Monitoring" not in statuses(story.reaches("Serving")))
    story.until(lambda: not story.annotations())


def test_a_monitor_follows_the_spec_and_goes(
    prometheus_operator_installed: None, story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    wish = {"podMonitor": {"labels": {"release": "prometheus"}}}
    story.create(engine("1"), serve("1", monitoring=wish))
    story.run_pods(1)
    story.reaches("PodMonitorInPlace", "Monitoring")
    assert story.annotations() == {"nacelle.dev/pod-monitor": "chat"}

    def is_as_sent(labels: dict[str, str]) -> bool:
        sent = pod_monitor(resource(story), labels)
        made = story.namespace.get(*MONITORS, "chat")
        same = made["metadata"]["labels"] == sent["metadata"]["labels"]
        return same and is_contained(sent, made)

    story.until(lambda: is_as_sent({"release": "prometheus"}))
    story.edit(monitoring={"podMonitor": {"labels": {"release": None, "team": "x"}}})
    story.until(lambda: is_as_sent({"team": "x"}))
    story.edit(frontends={"openai": {"tlsSecretRef": {"name": "certificate"}}})
    story.until(lambda: is_as_sent({"team": "x"}))
    (endpoint,) = story.namespace.get(*MONITORS, "chat")["spec"]["podMetricsEndpoints"]
    assert endpoint["scheme"] == "https"
    story.edit(frontends={"openai": {"tlsSecretRef": None}})
    story.until(lambda: is_as_sent({"team": "x"}))

    story.edit(monitoring={"podMonitor": None})
    story.until(lambda: not story.namespace.list(*MONITORS))
    story.until(lambda: not story.annotations())


def test_a_strangers_monitor_is_not_overwritten(
    prometheus_operator_installed: None, story: Story, start_operator: Any
) -> None:
    spec = {"selector": {}, "podMetricsEndpoints": []}
    before = story.namespace.create(MONITORS[1], stranger(MONITORS[0], "PodMonitor", **spec))
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    story.create(engine("1"), serve("1", monitoring={"podMonitor": {}}))
    story.run_pods(1)
    story.reaches("PodMonitorNameTaken", "Monitoring")
    story.reaches("Serving")
    story.edit(monitoring={"podMonitor": None})
    story.until(lambda: not story.annotations())
    is_untouched(story, MONITORS, before)


def test_both_go_with_their_owner(
    prometheus_operator_installed: None, story: Story, start_operator: Any
) -> None:
    start_operator(NACELLE_RUNTIME_IMAGES=IMAGES)
    wish = {"network": RESTRICTED, "monitoring": {"podMonitor": {}}}
    story.create(engine("1"), serve("1", **wish))
    story.run_pods(1)
    story.reaches("NetworkPolicyInPlace", "NetworkRestricted")
    story.reaches("PodMonitorInPlace", "Monitoring")
    story.namespace.delete(API, "inferencedeployments", "chat")
    story.is_gone(*POLICIES)
    story.is_gone(*MONITORS)
