"""A Triton server in a serving pod: what it shares with the runtime, and what it may not touch."""

import argparse
from pathlib import Path
from typing import Any

import pytest
from serving_cases import IMAGES, TRITONS, deployment, engine

from nacelle_engine.abi import ABI
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.objects.service import service
from nacelle_operator.objects.serving_pod import Served, pod_template
from nacelle_runtime.commands import serve, triton

ROOT = Path(__file__).parents[2]


def with_triton(**fields: Any) -> InferenceDeployment:
    return deployment(frontends={"triton": {"enabled": True, **fields}})


def spec(resource: InferenceDeployment | None = None, **engine_spec: Any) -> dict[str, Any]:
    served = Served(engine(**engine_spec), IMAGES[ABI], "a", 1, TRITONS[ABI])
    made: dict[str, Any] = pod_template(resource or with_triton(), served)["spec"]
    return made


def containers(made: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in (*made["initContainers"], *made["containers"])}


def mounts(container: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {mount["name"]: mount for mount in container["volumeMounts"]}


def parsed(command: Any, words: list[str]) -> argparse.Namespace:
    """Arguments as a command of the runtime reads them."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    command.configure(parser)
    return parser.parse_args(words[1:])


def test_without_a_triton_server_a_pod_has_nothing_of_it() -> None:
    served = Served(engine(), IMAGES[ABI], "a", 1)
    made = pod_template(deployment(), served)["spec"]
    assert "initContainers" not in made
    assert [c["name"] for c in made["containers"]] == ["runtime"]
    assert [volume["name"] for volume in made["volumes"]] == ["store", "tmp"]
    assert "--core-socket" not in made["containers"][0]["args"]
    assert [port["name"] for port in service(deployment(), "a")["spec"]["ports"]] == ["openai"]


def test_the_runtime_comes_first_so_that_it_is_what_kubectl_shows() -> None:
    assert [c["name"] for c in spec()["containers"]] == ["runtime", "triton"]


def test_all_three_mean_the_same_socket_and_triton_only_reads_its_folder() -> None:
    found = containers(spec())
    socket = parsed(serve, found["runtime"]["args"]).core_socket
    written = parsed(triton, found["triton-models"]["args"])
    assert written.core_socket == socket
    for name in ("runtime", "triton"):
        mount = mounts(found[name])["core"]
        assert socket.is_relative_to(mount["mountPath"])
        assert mount.get("readOnly", False) == (name == "triton")


def test_the_models_are_written_from_the_bundle_by_the_runtimes_image() -> None:
    found = containers(spec())
    writer, server = found["triton-models"], found["triton"]
    written = parsed(triton, writer["args"])
    assert str(written.bundle) == "/store/engines/" + "1" * 64
    assert mounts(writer)["store"] == {"name": "store", "mountPath": "/store", "readOnly": True}
    assert str(written.repository) == mounts(writer)["triton-models"]["mountPath"]
    assert f"--model-repository={written.repository}" in server["args"]
    assert mounts(server)["triton-models"]["readOnly"] is True
    assert "store" not in mounts(server)
    assert written.replace, "an init container may run again over what it left"
    assert (writer["image"], server["image"]) == (IMAGES[ABI], TRITONS[ABI])


def test_the_packages_are_where_the_image_has_them() -> None:
    written = parsed(triton, containers(spec())["triton-models"]["args"])
    dockerfile = (ROOT / "triton_image" / "Dockerfile").read_text()
    assert dockerfile.count(f"pip install --target {written.packages[0]} ") == 2


def test_each_container_is_restricted() -> None:
    for one in containers(spec()).values():
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert one["resources"]["limits"]["memory"]


def test_ports_are_the_specs_in_pod_service_and_arguments() -> None:
    resource = with_triton(httpPort=9001, grpcPort=9002, metricsPort=9003)
    server = containers(spec(resource))["triton"]
    numbers = {"triton-http": 9001, "triton-grpc": 9002, "triton-metrics": 9003}
    assert {port["name"]: port["containerPort"] for port in server["ports"]} == numbers
    assert {"--http-port=9001", "--grpc-port=9002", "--metrics-port=9003"} <= {*server["args"]}
    ports = service(resource, "a")["spec"]["ports"]
    assert {port["name"]: port["port"] for port in ports} == {"openai": 8000, **numbers}
    assert all(port["targetPort"] == port["name"] for port in ports)


def test_probes_ask_triton_itself() -> None:
    server = containers(spec())["triton"]
    asked = {name: server[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness")}
    ready = {"path": "/v2/health/ready", "port": "triton-http"}
    assert asked == {"startup": ready, "readiness": ready}
    assert server["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"


@pytest.mark.parametrize("size", [0, 140 << 30])
def test_triton_waits_for_the_core_as_long_as_that_may_take(size: int) -> None:
    found = containers(spec(bytes=size))
    waited = parsed(triton, found["triton-models"]["args"]).core_wait_seconds
    assert waited == found["runtime"]["startupProbe"]["failureThreshold"]
    assert found["triton"]["startupProbe"]["failureThreshold"] > waited


def test_answers_of_tritons_clients_get_the_same_time_to_end() -> None:
    made = spec()
    runtime, server = (containers(made)[name] for name in ("runtime", "triton"))
    drain = int(parsed(serve, runtime["args"]).drain_seconds)
    assert f"--exit-timeout-secs={drain}" in server["args"]
    withdrawn = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    (*_, script) = runtime["lifecycle"]["preStop"]["exec"]["command"]
    assert script.endswith(f"sleep {withdrawn}")
    assert withdrawn + drain < made["terminationGracePeriodSeconds"]


def test_the_gpu_is_the_runtimes_alone() -> None:
    found = containers(spec(architecture="sm_90"))
    assert found["runtime"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in found["triton"]["resources"]["limits"]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in found["triton"]["env"]


def test_resources_are_the_users() -> None:
    wished = {"requests": {"cpu": "2"}, "limits": {"memory": "3Gi"}}
    assert containers(spec(with_triton(resources=wished)))["triton"]["resources"] == wished
