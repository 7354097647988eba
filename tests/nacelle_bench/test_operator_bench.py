"""What the operator's benchmark reads, counts and draws; and a small run on a real API server."""

import argparse
import json
from pathlib import Path

import kwok
import pytest
import yaml
from control_plane import ControlPlane
from prometheus_client import generate_latest

from nacelle_bench.operator_api import Api
from nacelle_bench.operator_objects import Pair, node, stages
from nacelle_bench.operator_process import Counts
from nacelle_bench.operator_scale import bench_operator
from nacelle_bench.operator_seen import SPANS, percentile
from nacelle_bench.plots import charts
from nacelle_bench.records import read_records
from nacelle_bench.svg import draw
from nacelle_engine.errors import InvalidRequest
from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.inference_deployment import InferenceDeployment
from nacelle_operator.build.request import target_requests
from nacelle_operator.metrics import Metrics

CRDS = Path(__file__).parents[2] / "crds"


def test_counts_are_the_operators_own_without_its_lease():
    metrics = Metrics()
    for call in (("GET", "jobs", "200"), ("PATCH", "jobs", "200"), ("POST", "events", "409")):
        metrics.requests.labels(*call).inc()
    metrics.requests.labels("PUT", "leases", "200").inc(30)
    metrics.reconciles.labels("Engine", "done").inc(2)
    metrics.reconciles.labels("Engine", "retried").inc()
    metrics.queue_depth.set(5)
    found = Counts.read(generate_latest(metrics.registry).decode())
    assert found == Counts(reads=1, writes=2, reconciles={"Engine": 3}, waiting=5)
    assert found.all_reconciles == 3


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (50, 3.0), (99, 4.0), (100, 4.0)])
def test_percentiles(percent, value):
    assert percentile([1.0, 2.0, 3.0, 4.0], percent) == value
    assert percentile([], percent) is None


def test_no_two_builds_ask_for_the_same_and_each_has_nodes():
    labels = [node(number)["metadata"]["labels"] for number in range(4)]
    products = {of["nvidia.com/gpu.product"] for of in labels}
    jobs = set()
    for number in range(8):
        pair = Pair("ns", number)
        meta = {"namespace": "ns", "uid": "u"}
        made = [
            {**m, "metadata": {**m["metadata"], **meta}} for m in (pair.build(), pair.deployment())
        ]
        build = EngineBuild.parse(made[0])
        jobs.add(target_requests(build, Toolchain(builder_image="b"))[0].job)
        assert set(build.spec.targets[0].gpu_products) <= products
        prepare = build.spec.targets[0].prepare
        assert prepare and all(prepare.node_selector.items() <= of.items() for of in labels)
        assert InferenceDeployment.parse(made[1]).spec.replicas == 1
    assert len(jobs) == 8


def test_builders_are_said_to_prepare_then_to_publish_a_key_of_their_own():
    found = {
        spec["selector"]["matchLabels"]["nacelle.dev/step"]: spec["next"]["statusTemplate"]
        for spec in (stage["spec"] for stage in stages())
        if "matchLabels" in spec["selector"]
    }
    assert found.keys() == {"prepare", "build"}
    assert 'message: \'{"prepared":{"until":"convert","stageSeconds":{}}}\'' in found["prepare"]
    key = '"engineKey":"{{ index $labels "nacelle.dev/request-key" }}{{ index'
    assert key in found["build"] and key not in found["prepare"]


def test_a_kubeconfig_that_is_none_is_refused(tmp_path):
    wrong = tmp_path / "kubeconfig"
    wrong.write_text("a: b")
    with pytest.raises(InvalidRequest, match="is no kubeconfig that can be read"):
        Api(wrong)


@pytest.mark.slow
def test_a_small_run_on_a_real_api_server(tmp_path):
    """Few of everything: the operator rests without a write, and a restart writes nothing."""
    plane = ControlPlane(tmp_path / "plane")
    kept = tmp_path / "kept"
    kept.mkdir()
    try:
        plane.start()
        plane.start_scheduler()
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for file in sorted(CRDS.glob("*.yaml")):
            plane.call("POST", path, yaml.safe_load(file.read_text()))
        arguments = argparse.Namespace(
            kubeconfig=plane.kubeconfig,
            kwok=str(kwok.program()),
            builds=8,
            nodes=8,
            namespaces=2,
            singles=1,
            idle_seconds=5.0,
            out=kept / "run.json",
        )
        table = bench_operator(arguments)
    finally:
        plane.stop()
    assert [row["applied"] for row in table.rows] == ["all at once", "one by one"]
    assert all(value is not None for row in table.rows for value in row.values())
    assert (table.facts["idle_writes"], table.facts["idle_objects_changed"]) == (0, 0)
    columns = {name for row in table.rows for name in row} - {"applied", "settled_s"}
    assert columns == {f"{span}_p{percent}" for span in SPANS for percent in (50, 99)}
    assert [row["seconds"] for row in table.others["measured"]] == list(SPANS.values())
    # One Job comes after the other, of each build.
    assert all(row["prepare_job_p50"] < row["build_job_p50"] for row in table.rows)
    starts = table.others["starts"]
    assert [(row["after"], row["writes"]) for row in starts] == [
        ("stop", 0),
        ("crash", 0),
        ("loss", 0),
    ]
    assert json.loads((kept / "run.json").read_text())["samples"][-1]["percent"] == 100
    (chart,) = charts(read_records(kept)).values()
    # Each line is drawn, and stands in the legend.
    assert draw(chart).count('stroke-width="2"') == 2 * len(SPANS)
    assert [line.name for line in chart.series] == list(SPANS.values())
    assert chart.note.startswith("8 builds and as many deployments on 8 nodes, ")
