"""The operator with the chart's rights alone, through all that it does: it needs them all, and no
other; in both modes of installation."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import build_story
import foreign_kinds
import inference_extension
import pytest
import rights
from build_story import claim, ended, engine_build, published
from control_plane import ControlPlane
from rights import RELEASE_NAMESPACE, Right
from rollout_story import ROUTED, ROUTES, SECOND, accept_route, bind, edit_rollout, rolled
from serving_story import API, IMAGES, Story, engine, running, serve

from nacelle_engine.result import Prepared, Result

pytestmark = pytest.mark.slow
HOPPER = {"name": "hopper", "architecture": "sm_90", "deviceClaim": {}}
SCALED = "keda.sh/v1alpha1", "scaledobjects"
POOLS = "inference.networking.k8s.io/v1", "inferencepools"
PREPARED = Result(prepared=Prepared(until="convert")).message()


@pytest.fixture
def foreign(control_plane: ControlPlane, until: Callable[..., Any]) -> Iterator[None]:
    """The kinds that a cluster may not know."""
    routes, monitors = foreign_kinds.GATEWAY_API, foreign_kinds.PROMETHEUS_OPERATOR
    with (
        foreign_kinds.installed(control_plane, until, routes, "httproutes"),
        foreign_kinds.installed(control_plane, until, monitors, "podmonitors"),
        foreign_kinds.installed(control_plane, until, foreign_kinds.KEDA, SCALED[1]),
        foreign_kinds.defined(control_plane, until, inference_extension.definition()),
    ):
        yield


@pytest.mark.parametrize("mode", ["cluster", "namespaced"])
def test_rights_are_exactly_what_is_used(
    mode: str,
    foreign: None,
    node: str,
    story: Story,
    control_plane: ControlPlane,
    start_operator: Callable[..., Any],
) -> None:
    namespace = story.namespace.name
    flags = ("--set", f"namespaces={{{namespace}}}") if mode == "namespaced" else ()
    manifests = rights.rbac_manifests(*flags)
    log = control_plane.audit_log
    before = len(log.read_text()) if log.exists() else 0
    with rights.given(control_plane, manifests):
        operator = start_operator(
            KUBECONFIG=str(control_plane.operator_kubeconfig),
            NACELLE_NAMESPACES=namespace if mode == "namespaced" else "",
            NACELLE_ENGINE_GRACE_PERIOD="0s",
            NACELLE_RUNTIME_IMAGES=IMAGES,
            POD_NAMESPACE=RELEASE_NAMESPACE,
        )
        build_everything(story, node)
        serve_everything(story, node)
        assert operator.stop() == 0
        time.sleep(0.5)
    used = rights.called(log.read_text()[before:])
    assert used.forbidden == set()
    wanted, allowed = rights.granted(manifests), used.allowed
    if mode == "cluster":
        # Granted once for all namespaces, but for the lease's.
        allowed = {r if r in wanted else r._replace(namespace="") for r in allowed}
    assert allowed == wanted, difference(allowed, wanted)


def difference(used: set[Right], wanted: set[Right]) -> str:
    """For people."""
    return json.dumps(
        {
            "granted and never called": sorted(map(list, wanted - used)),
            "called and not granted": sorted(map(list, used - wanted)),
        },
        indent=1,
    )


def build_everything(story: Story, node: str) -> None:
    """A build in two Jobs whose pod says something, edited, deleted; an imported engine."""
    builds = build_story.Story(story.namespace, story.until)
    for name in ("models", "engines"):
        story.namespace.create("persistentvolumeclaims", claim(name))
    story.namespace.create("enginebuilds", engine_build("b", targets=[HOPPER]))
    builds.ends(PREPARED)
    templates = "resource.k8s.io/v1", "resourceclaimtemplates"
    story.until(lambda: story.namespace.list(*templates))
    # Another spec: the Job of the one before goes.
    cpu = {"targets": [{"name": "cpu", "architecture": "x86-64-v3"}]}
    story.namespace.merge(API, "enginebuilds", "b", {"spec": cpu})
    story.until(lambda: story.namespace.list(*templates) == [])
    pod = story.until(lambda: [p for p in builds.pods() if "sm_90" not in json.dumps(p)])[0]
    name = pod["metadata"]["name"]
    bind(story.namespace, name, node)
    story.namespace.set_pod_status(name, running(True))
    log = story.namespace.plane.audit_log
    story.until(lambda: f"/pods/{name}/log" in log.read_text())
    story.namespace.set_pod_status(name, ended(published()))
    builds.reaches("Ready", "AllTargetsPublished")
    story.until(lambda: [j for j in builds.jobs() if "ttlSecondsAfterFinished" in j["spec"]])
    story.namespace.merge(API, "enginebuilds", "b", {"spec": {"deletionPolicy": "Delete"}})
    made = f"eng-{build_story.KEY[:16]}"
    story.until(
        lambda: story.namespace.get(API, "engines", made)["spec"]["deletionPolicy"] == "Delete"
    )
    story.namespace.delete(API, "enginebuilds", "b")
    sweep = story.until(
        lambda: [p for p in builds.pods() if p["metadata"]["name"].startswith("sweep-")]
    )[0]
    story.namespace.set_pod_status(sweep["metadata"]["name"], ended(""))
    story.until(lambda: story.namespace.list(API, "engines") == [])
    story.until(lambda: builds.pods() == [])


def serve_everything(story: Story, node: str) -> None:
    """A canary over a route, with all that is made beside a deployment; then all of it goes."""
    story.create(
        engine("1"),
        engine("2"),
        serve(
            "1",
            replicas=2,
            rollout={**ROUTED, "revisionHistoryLimit": 0},
            network={"policy": "Restricted"},
            monitoring={"podMonitor": {}},
            autoscaling={"minReplicas": 2, "maxReplicas": 2},
            pod={"resources": {"requests": {"cpu": "1"}}},
        ),
    )
    story.run_pods(2)
    story.reaches("NetworkPolicyInPlace", "NetworkRestricted")
    story.reaches("PodMonitorInPlace", "Monitoring")
    story.until(lambda: story.namespace.get(*ROUTES, "chat"))
    accept_route(story.namespace, "chat")
    story.reaches("Serving")
    story.edit(engine=SECOND)
    rolled(story, node=node, a=2, b=1)
    story.reaches("WaitingForPromotion")
    edit_rollout(story, promote="2")
    rolled(story, node=node, b=2)
    story.reaches("Serving")
    story.edit(autoscaling=None)
    story.until(lambda: story.namespace.list("autoscaling/v2", "horizontalpodautoscalers") == [])
    story.edit(
        replicas=1,
        rollout={"strategy": "RollingUpdate", "canary": None, "promote": None},
        network={"policy": "Open"},
        monitoring={"podMonitor": None},
    )
    kinds = {
        "networking.k8s.io/v1": "networkpolicies",
        "monitoring.coreos.com/v1": "podmonitors",
        "gateway.networking.k8s.io/v1": "httproutes",
        "policy/v1": "poddisruptionbudgets",
    }
    for api, plural in kinds.items():
        story.until(lambda a=api, p=plural: story.namespace.list(a, p) == [])
    story.until(lambda: len(story.namespace.list("apps/v1", "deployments")) == 1)
    story.until(lambda: len(story.namespace.list("apps/v1", "controllerrevisions")) == 1)
    scale_by_keda_and_pool(story)


def scale_by_keda_and_pool(story: Story) -> None:
    """A ScaledObject and an InferencePool come, are changed, and go."""
    scaling = {
        "provider": "KEDA",
        "maxReplicas": 3,
        "metrics": [{"type": "QueuedRequests"}],
        "prometheus": {"serverAddress": "http://prometheus:9090"},
    }
    story.edit(autoscaling=scaling, inferencePool={"endpointPickerRef": {"name": "picker"}})
    for kind in (SCALED, POOLS):
        story.until(lambda kind=kind: story.namespace.list(*kind))
    picker = {"name": "picker", "failureMode": "FailOpen"}
    story.edit(autoscaling={"maxReplicas": 5}, inferencePool={"endpointPickerRef": picker})
    story.until(lambda: story.namespace.get(*SCALED, "chat")["spec"]["maxReplicaCount"] == 5)
    story.until(
        lambda: (
            story.namespace.get(*POOLS, "chat")["spec"]["endpointPickerRef"]["failureMode"]
            == "FailOpen"
        )
    )
    story.edit(autoscaling=None, inferencePool=None)
    for kind in (SCALED, POOLS):
        story.until(lambda kind=kind: story.namespace.list(*kind) == [])
