"""The tests' control plane keeps nothing of a test that has ended, and its ports until its end."""

import errno
import socket
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest
from control_plane import ControlPlane
from rollout_story import bind

pytestmark = pytest.mark.slow


def test_a_namespace_goes_although_no_kubelet_ends_its_pods(
    control_plane: ControlPlane, node: str, make_namespace: Any, until: Callable[..., Any]
) -> None:
    place = make_namespace("goes")
    container = {"name": "c", "image": "i"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}}
    place.create("deployments", {**deployment, "spec": spec})
    job = {"restartPolicy": "Never", "containers": [container]}
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}}
    place.create("jobs", {**made, "spec": {"template": {"spec": job}}})
    # Its pod counts as failed only when somebody has ended it.
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}}
    strict = {"template": {"spec": job}, "podFailurePolicy": {"rules": [rule]}}
    place.create("jobs", {**made, "metadata": {"name": "strict"}, "spec": strict})
    pods = until(lambda: len(pods := place.list("v1", "pods")) == 4 and pods)
    for pod in pods:
        if "strict" not in pod["metadata"]["name"]:
            bind(place, pod["metadata"]["name"], node)
    control_plane.remove_namespace(place.name)

    def has_gone() -> bool:
        try:
            control_plane.call("GET", f"/api/v1/namespaces/{place.name}")
        except urllib.error.HTTPError as error:
            return error.code == 404
        return False

    until(has_gone, seconds=60)
    control_plane.call("POST", "/api/v1/namespaces", {"metadata": {"name": place.name}})


def test_nobody_is_given_its_port_while_a_program_does_not_run(control_plane: ControlPlane) -> None:
    """Another process of tests asks for free ports all the time."""
    port = int(control_plane.server.rpartition(":")[2])
    control_plane.kill("api")
    try:
        with pytest.raises(OSError) as refused:
            socket.create_server(("127.0.0.1", port)).close()
        assert refused.value.errno == errno.EADDRINUSE
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
    finally:
        control_plane.start_api_server()
