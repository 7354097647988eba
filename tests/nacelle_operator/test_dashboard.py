"""Grafana's dashboard: every metric and label that it asks for is exposed by one of ours."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from promql import metrics_of

from nacelle_operator.metrics import Metrics
from nacelle_runtime.metrics import exposition
from nacelle_runtime.wire import Histogram, Ready, Stats

CHART = Path(__file__).parents[2] / "charts" / "nacelle"
DASHBOARD: dict[str, Any] = json.loads((CHART / "dashboards" / "nacelle.json").read_text())
# What whoever scrapes a pod adds to all of its metrics.
SCRAPED = {"instance", "job", "namespace", "pod"}
EXPRESSIONS = [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())
]


def of_operator() -> CollectorRegistry:
    """The operator's registry, every metric of it used once."""
    metrics = Metrics()
    metrics.reconciles.labels("Engine", "done").inc()
    metrics.seconds.labels("Engine").observe(1)
    metrics.writes.labels("apply").inc()
    metrics.requests.labels("GET", "engines", "200").inc()
    metrics.events.labels("Engine").inc()
    return metrics.registry


def of_runtime() -> bytes:
    empty = Histogram([1.0], [0, 0], 0.0)
    counts = dict.fromkeys(Stats.__struct_fields__[:12], 1) | {"kv_blocks_total": 2}
    stats = Stats(
        **counts,
        steps=1,
        finished={},
        time_to_first_token=empty,
        inter_token_latency=empty,
        step_seconds=empty,
        device_seconds=1.0,
        device_idle_seconds=0.0,
    )
    return exposition(stats, Ready("k", 1, 1, 1, 64, 1, 1.0, ""), "m")


def exposed() -> dict[str, set[str]]:
    """Every sample's name with its labels."""
    found: dict[str, set[str]] = {}
    for text in (generate_latest(of_operator()), of_runtime()):
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a", {"a": set()}),
        (
            'sum by (x, y) (rate(a_total{m=~"$m", n!="b{c}"}[5m]))',
            {"a_total": {"x", "y", "m", "n"}},
        ),
        ("histogram_quantile(0.9, sum by (le) (rate(b[1m])))", {"b": {"le"}}),
        ("sum(a) / on (z) sum(b{c='d'})", {"a": {"z"}, "b": {"z", "c"}}),
        ("a unless b or c offset 5m", {"a": set(), "b": set(), "c": set()}),
    ],
)
def test_what_an_expression_names(expression: str, expected: dict[str, set[str]]) -> None:
    assert metrics_of(expression) == expected


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_exists(expression: str) -> None:
    ours = exposed()
    named = metrics_of(expression)
    assert named
    for metric, labels in named.items():
        assert metric in ours, metric
        assert labels <= ours[metric] | SCRAPED, metric


def test_the_choice_of_models_asks_for_what_exists() -> None:
    (query,) = (
        variable["query"]
        for variable in DASHBOARD["templating"]["list"]
        if variable["type"] == "query"
    )
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()
    assert label in exposed()[metric]


def test_every_metric_of_the_operator_is_shown() -> None:
    shown = set().union(*map(metrics_of, EXPRESSIONS))
    families = {family.name for family in of_operator().collect()}
    assert {name for name in families if not any(each.startswith(name) for each in shown)} == set()


def test_panels_do_not_overlap_and_ids_are_unique() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def rendered(*flags: str) -> list[dict[str, Any]]:
    helm = Path(sys.executable).parent / "helm"
    done = subprocess.run(
        [str(helm), "template", "nacelle", str(CHART), "-n", "sys", "--kube-version", "1.36",
         *(part for flag in flags for part in ("--set", flag))],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return [m for m in yaml.load_all(done.stdout, yaml.CSafeLoader) if m["kind"] == "ConfigMap"]


def test_the_chart_leaves_it_out_by_default() -> None:
    assert rendered() == []


def test_the_chart_hands_it_to_grafanas_sidecar() -> None:
    flags = ("grafana.enabled=true", "grafana.namespace=monitoring", "grafana.annotations.a=b")
    (made,) = rendered(*flags)
    assert made["metadata"]["name"] == "nacelle-operator-dashboard"
    assert made["metadata"]["namespace"] == "monitoring"
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["annotations"] == {"a": "b"}
    assert json.loads(made["data"]["nacelle.json"]) == DASHBOARD
