"""An autoscaler on a real cluster: pods follow the CPU's use up and down, and nobody notices."""

from contextlib import AbstractContextManager

import pytest
from clients import clients
from resources import deployment, engine_build

from nacelle_demo.kubectl import condition, is_true
from nacelle_demo.question import Endpoint

pytestmark = pytest.mark.e2e
BUILD_SECONDS = 600.0
READY_SECONDS = 180.0
# The autoscaler looks every 15 s at figures of the last 10 to 20 s.
UP_SECONDS = 180.0
DOWN_SECONDS = 240.0
CLIENTS = 4


def load(endpoint: Endpoint) -> AbstractContextManager[None]:
    """Clients that ask one question after another; one that is not answered is an error."""

    def ask() -> None:
        assert list(endpoint.ask("tiny", "Count to a hundred.", max_tokens=100))

    return clients(CLIENTS, ask)


def test_pods_follow_the_use_of_the_cpu(place, stack):
    served = deployment(
        "scaled",
        "scaled",
        autoscaling={
            "maxReplicas": 2,
            "metrics": [{"type": "CPU", "averagePercent": 50}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
        },
        pod={
            "resources": {
                "requests": {"cpu": "200m", "memory": "3Gi"},
                "limits": {"memory": "3Gi"},
            }
        },
    )
    # Beside an autoscaler replicas are nobody's manifest's business.
    del served["spec"]["replicas"]
    place.apply(engine_build("scaled", "tiny"), served)
    place.until_ready("enginebuild", "scaled", BUILD_SECONDS)
    place.until_ready("inferencedeployment", "scaled", READY_SECONDS)
    with load(Endpoint(stack.cluster.kubeconfig, place.namespace, "scaled")):
        place.until("inferencedeployment", "scaled", "two pods", _answer(2), UP_SECONDS)
    found = place.until("inferencedeployment", "scaled", "one pod", _answer(1), DOWN_SECONDS)
    assert condition(found, "Autoscaling")["status"] == "True"
    place.delete("inferencedeployment", "scaled")
    place.delete("enginebuild", "scaled")


def _answer(count):
    """Whether this many replicas are asked for, and all of them answer."""

    def holds(found):
        status = found["status"]
        wanted = found["spec"]["replicas"] == count
        return wanted and is_true(found, "Ready") and status.get("readyReplicas") == count

    return holds
