"""What bad input gets: an answer that names the field, the file or the limit."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import small_models
from resources import LIMITS, deployment, engine_build

from nacelle_demo.kubectl import condition, is_true, to_yaml
from nacelle_demo.question import Endpoint

pytestmark = pytest.mark.e2e
BUILD_SECONDS = 600.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"targets": [{"name": "cpu", "architecture": "sm_91"}]},
            ["spec.targets[0].architecture", "x86-64-v3"],
        ),
        (
            {
                "targets": [{"name": "gpu", "architecture": "sm_80"}],
                "quantization": {"kvCache": "FP8"},
            },
            ["quantization.kvCache", "sm_80"],
        ),
        (
            {"limits": {"maxBatchSize": 4, "maxInputLen": 512, "maxSeqLen": 256}},
            ["maxInputLen", "maxSeqLen"],
        ),
        (
            {"limits": {"maxBatchSize": 64, "maxNumTokens": 8}},
            ["maxNumTokens", "maxBatchSize"],
        ),
        ({"parallelism": {"tensor": 2}}, ["parallelism", "tensor"]),
        ({"model": {}}, ["model"]),
        ({"backend": "tensorrt"}, ["backend", "tensorrt"]),
    ],
)
def test_the_api_server_refuses_it_by_name(place, change, words):
    manifest = engine_build("refused", "tiny", **change)
    manifest["metadata"]["namespace"] = place.namespace
    done = place.kubectl.attempt("apply", "-f", "-", stdin=to_yaml([manifest]))
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr


@pytest.fixture(scope="module")
def spoiled_builds(place):
    """One build of each spoiled model, all applied at once."""
    place.apply(*(engine_build(f"bad-{name}", name) for name in small_models.SPOILED))


@pytest.mark.parametrize("name", small_models.SPOILED)
def test_a_spoiled_model_fails_for_good_and_says_why(place, spoiled_builds, name):
    _, code, named = small_models.SPOILED[name]
    build = place.until(
        "enginebuild", f"bad-{name}", "stalled", lambda b: is_true(b, "Stalled"), BUILD_SECONDS
    )
    ready = condition(build, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "TargetsFailed")
    (target,) = build["status"]["targets"]
    assert target["stage"] in ("source", "convert")
    text = json.dumps(target["conditions"])
    assert code in text
    assert named in text
    assert target["attempts"] == 1, place.pods_of("enginebuild", f"bad-{name}")
    place.delete("enginebuild", f"bad-{name}")


def test_a_build_without_a_node_says_so_and_proceeds_when_one_appears(place):
    node = place.kubectl.run("get", "nodes", "-o", "name").split()[0]
    levels = json.loads(place.kubectl.run("get", node, "-o", "json"))["metadata"]["labels"]
    level = levels["nacelle.dev/cpu-level"]
    place.kubectl.run("label", node, "--overwrite", "nacelle.dev/cpu-level=none")
    try:
        place.apply(engine_build("nowhere", "tiny"))
        found = place.until_condition("enginebuild", "nowhere", "Reconciling", "NoMatchingNode", 30)
        assert "x86-64-v3" in found["message"]
    finally:
        place.kubectl.run("label", node, "--overwrite", f"nacelle.dev/cpu-level={level}")
    place.until_ready("enginebuild", "nowhere", BUILD_SECONDS)


def test_a_damaged_bundle_is_refused_and_the_deployment_says_so(place, stack):
    place.apply(engine_build("damaged", "tiny", limits={**LIMITS, "maxBatchSize": 3}))
    build = place.until_ready("enginebuild", "damaged", BUILD_SECONDS)
    engine = place.get("engine", build["status"]["targets"][0]["engineRef"]["name"])
    _damage(place, stack, f"{engine['spec']['path']}/config.json")
    place.apply(deployment("damaged", "damaged"))
    found = place.until_condition("inferencedeployment", "damaged", "Ready", "BundleRefused", 90)
    assert "CorruptBundle" in found["message"]
    assert "config.json" in found["message"]
    place.delete("inferencedeployment", "damaged")


def test_prompts_and_queues_have_limits(place, stack):
    place.apply(
        engine_build("limited", "tiny"),
        deployment("limited", "limited", runtime={"maxBatchSize": 1, "queueLimit": 1}),
    )
    place.until_ready("inferencedeployment", "limited", BUILD_SECONDS)
    endpoint = Endpoint(stack.cluster.kubeconfig, place.namespace, "limited")
    body = {"model": "tiny", "prompt": [5] * 200, "max_tokens": 1}
    refused = endpoint.open("/v1/completions", body)
    assert refused.status == 400
    assert "128" in json.loads(refused.data)["error"]["message"]
    long = {"model": "tiny", "prompt": [5] * 8, "max_tokens": 200, "ignore_eos": True}
    # All at once: one after the other, each would find the engine idle again.
    with ThreadPoolExecutor(8) as pool:
        opened = [
            pool.submit(endpoint.open, "/v1/completions", {**long, "stream": True})
            for _ in range(8)
        ]
        streams = [one.result() for one in opened]
    statuses = [stream.status for stream in streams]
    assert 200 in statuses
    assert 429 in statuses
    full = streams[statuses.index(429)]
    assert int(full.headers["Retry-After"]) >= 1
    for stream in streams:
        stream.close()
    place.delete("inferencedeployment", "limited")


def _damage(place, stack, path):
    """Flip a stored file's last byte, by a pod that mounts the store."""
    code = (
        "import pathlib; p = pathlib.Path('/store') / " + repr(path) + "; "
        "d = p.read_bytes(); p.chmod(0o644); p.write_bytes(d[:-1] + bytes([d[-1] ^ 1]))"
    )
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "damage",
        "image": stack.images["builder"],
        "command": ["python", "-c", code],
        "securityContext": security,
        "volumeMounts": [{"name": "store", "mountPath": "/store"}],
    }
    pod_security = {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    volume = {"name": "store", "persistentVolumeClaim": {"claimName": "engines"}}
    spec = {
        "restartPolicy": "Never",
        "securityContext": pod_security,
        "containers": [container],
        "volumes": [volume],
    }
    place.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "damage"}, "spec": spec})
    place.until("pod", "damage", "done", lambda p: p["status"]["phase"] == "Succeeded", 60)
    place.delete("pod", "damage")
