"""How many replicas serve, decided by an autoscaler: bounds, metrics and pace."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from nacelle_operator.api.prometheus import Prometheus
from nacelle_operator.api.schema import ApiModel, Rule

Percent = Annotated[int, Field(ge=1, le=100)]
Seconds = Annotated[int, Field(ge=0, le=3600)]
Period = Annotated[int, Field(ge=1, le=1800)]
Replicas = Annotated[int, Field(ge=1, le=1000)]
# A replica that was woken loads well within it, and one that is idle costs no more than that.
IDLE_SECONDS: Final = 300


class Metric(ApiModel):
    """One measure of how busy the pods are; of several, the one that wants most replicas counts."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.averagePercent) || self.type != 'QueuedRequests'",
            "averagePercent has no meaning for QueuedRequests: use averageValue",
        ),
        Rule(
            "!has(self.averageValue) || self.type == 'QueuedRequests'",
            "averageValue has a meaning for QueuedRequests only: use averagePercent",
        ),
    )

    type: Literal["CPU", "KVUtilization", "QueuedRequests"]
    """CPU: what the pods use of spec.pod.resources.requests.cpu; for engines of CPUs.
    KVUtilization: how much of the KV cache requests hold (nacelle_kv_utilization).
    QueuedRequests: requests that wait (nacelle_requests_waiting). An HPA reads the last two through
    an adapter that serves custom.metrics.k8s.io, KEDA from autoscaling.prometheus."""

    average_percent: Percent | None = None
    """CPU, KVUtilization: the use that the pods are kept at, on average; left out: 80."""

    average_value: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """QueuedRequests: how many may wait for each pod, on average; left out: 4."""


class ScaleUp(ApiModel):
    """How fast pods are added."""

    stabilization_window_seconds: Seconds = 0
    """How long more pods must have been wanted; 0: one look is enough."""

    max_pods: Replicas = 4
    """Pods that are added in a period, at most."""

    period_seconds: Period = 30
    """The period."""


class ScaleDown(ApiModel):
    """How fast pods are taken away."""

    stabilization_window_seconds: Seconds = 120
    """How long fewer pods must have been enough."""

    max_pods: Replicas = 1
    """Pods that are taken away in a period, at most."""

    period_seconds: Period = 30
    """The period."""


class ScalingBehavior(ApiModel):
    """How fast the number of pods follows the metrics."""

    scale_up: ScaleUp = ScaleUp()
    """How fast pods are added."""

    scale_down: ScaleDown = ScaleDown()
    """How fast pods are taken away."""


class Autoscaling(ApiModel):
    """An autoscaler that writes spec.replicas through /scale."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.provider != 'KEDA' || has(self.prometheus)",
            "autoscaling.provider KEDA asks a Prometheus for the pods' metrics: say where it is in "
            "autoscaling.prometheus.serverAddress",
        ),
        Rule(
            "!has(self.prometheus) || self.provider == 'KEDA'",
            "autoscaling.prometheus has a meaning with provider KEDA only: leave it out",
        ),
        Rule(
            "self.minReplicas > 0 || self.provider == 'KEDA'",
            "autoscaling.minReplicas 0 needs provider KEDA: an HPA keeps 1 at least",
        ),
        Rule(
            "!has(self.idleSeconds) || self.minReplicas == 0",
            "autoscaling.idleSeconds has a meaning with minReplicas 0 only: leave it out",
        ),
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "autoscaling.minReplicas must not be above autoscaling.maxReplicas",
        ),
    )

    provider: Literal["HPA", "KEDA"] = "HPA"
    """HPA makes a HorizontalPodAutoscaler of the resource's own name; KEDA a ScaledObject."""

    prometheus: Prometheus | None = None
    """KEDA: where the pods' metrics are asked for."""

    min_replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many replicas serve, at least. 0, with KEDA only: none once nobody asks; a request then
    gets 503 with Retry-After, and wakes the first."""

    max_replicas: Replicas
    """How many replicas serve, at most."""

    idle_seconds: Annotated[int, Field(ge=30, le=86_400)] | None = None
    """With minReplicas 0: how long nobody may have asked before the last replica goes, and how long
    a replica that was woken has to load; left out: 300."""

    metrics: Annotated[
        tuple[Metric, ...],
        Field(
            max_length=3,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        ),
    ] = ()
    """What the number follows. Left out: CPU for engines of CPUs; QueuedRequests and KVUtilization
    for engines of GPUs."""

    behavior: ScalingBehavior = ScalingBehavior()
    """How fast it follows."""


_STAYS_AWAKE: Final = "!has(self.autoscaling) || self.autoscaling.minReplicas > 0"
SLEEPS_AS_ONE: Final = (
    Rule(
        f"{_STAYS_AWAKE} || !has(self.frontends) || !self.frontends.triton.enabled",
        "autoscaling.minReplicas 0 is not built yet beside frontends.triton: nobody would answer "
        "at its ports; use 1",
    ),
    Rule(
        f"{_STAYS_AWAKE} || !has(self.frontends) || !has(self.frontends.openai.tlsSecretRef)",
        "autoscaling.minReplicas 0 is not built yet with frontends.openai.tlsSecretRef: what "
        "answers for sleeping pods has no certificate; use 1, or end TLS at a Gateway",
    ),
    Rule(
        f"{_STAYS_AWAKE} || !has(self.rollout) || !has(self.rollout.canary) "
        "|| !has(self.rollout.canary.route)",
        "autoscaling.minReplicas 0 is not built yet with rollout.canary.route, which leads past "
        "what answers for sleeping pods; use 1",
    ),
)
"""Of a spec: whatever a client can reach answers for pods that are not there."""
