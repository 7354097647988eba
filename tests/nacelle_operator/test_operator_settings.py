"""The environment is read whole or refused by name; probes and metrics are served."""

import urllib.error
import urllib.request
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from nacelle_engine.errors import InvalidRequest
from nacelle_operator.engines.collection import Collection
from nacelle_operator.health import HealthServer
from nacelle_operator.metrics import Metrics
from nacelle_operator.objects.gpu_labels import GpuLabels
from nacelle_operator.settings import Settings


def test_what_is_read() -> None:
    settings = Settings.from_environment(
        {
            "NACELLE_BUILDER_IMAGE": "builder:1",
            "NACELLE_RUNTIME_IMAGES": '{"abi": "runtime:1"}',
            "NACELLE_TRITON_IMAGES": '{"abi": "triton:1"}',
            "NACELLE_ACTIVATOR_IMAGE": "operator:1",
            "NACELLE_GPU_LABELS": '{"product": "example.com/gpu"}',
            "NACELLE_NAMESPACES": "a, b,",
            "NACELLE_LOG_LEVEL": "debug",
            "NACELLE_ENGINE_GRACE_PERIOD": "1h30m",
            "NACELLE_ENGINE_DRY_RUN": "true",
            "POD_NAMESPACE": "system",
            "POD_NAME": "op-0",
        }
    )
    assert settings.runtime_images == {"abi": "runtime:1"} and settings.namespaces == ("a", "b")
    assert settings.collection == Collection(timedelta(minutes=90), is_dry_run=True)
    assert settings.triton_images == {"abi": "triton:1"}
    assert settings.activator_image == "operator:1"
    assert settings.gpu_labels == GpuLabels(product="example.com/gpu")
    assert (settings.own_namespace, settings.identity, settings.port) == ("system", "op-0", 8080)
    assert settings.toolchain.builder_image == "builder:1" and settings.log_level == "DEBUG"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NACELLE_BUILDER_IMAGE", ""),
        ("NACELLE_RUNTIME_IMAGES", "{"),
        ("NACELLE_RUNTIME_IMAGES", '["a"]'),
        ("NACELLE_RUNTIME_IMAGES", '{"a": 1}'),
        ("NACELLE_TRITON_IMAGES", "{"),
        ("NACELLE_TRITON_IMAGES", '["a"]'),
        ("NACELLE_GPU_LABELS", "{"),
        ("NACELLE_GPU_LABELS", "[]"),
        ("NACELLE_GPU_LABELS", '{"driver": "x"}'),
        ("NACELLE_GPU_LABELS", '{"major": 9}'),
        ("NACELLE_GPU_LABELS", '{"major": ""}'),
        ("NACELLE_LOG_LEVEL", "loud"),
        ("NACELLE_ENGINE_GRACE_PERIOD", "soon"),
        ("NACELLE_ENGINE_GRACE_PERIOD", ""),
        ("NACELLE_ENGINE_DRY_RUN", "yes"),
        ("NACELLE_PORT", "http"),
        ("NACELLE_PORT", "70000"),
    ],
)
def test_what_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        Settings.from_environment({"NACELLE_BUILDER_IMAGE": "b", name: value})


def test_probes_and_metrics_are_served() -> None:
    ready = []
    metrics = Metrics()
    metrics.writes.labels("apply").inc()
    server = HealthServer(0, lambda: True, lambda: bool(ready), metrics.registry)
    server.start()
    try:
        assert status(server, "healthz") == 200
        assert status(server, "readyz") == 503
        ready.append(True)
        assert status(server, "readyz") == 200
        assert status(server, "else") == 404
        url = f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert b'nacelle_api_writes_total{verb="apply"} 1.0' in answer.read()
    finally:
        server.close()


def status(server: HealthServer, path: str) -> int:
    try:
        url = f"http://127.0.0.1:{server.port}/{path}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_registries_are_their_own() -> None:
    assert isinstance(Metrics().registry, CollectorRegistry)
    Metrics()  # a second one collides with nothing
