"""InferenceDeployment: serves one engine."""

from typing import Annotated, ClassVar

from pydantic import Field

from nacelle_operator.api.autoscaling import SLEEPS_AS_ONE, Autoscaling
from nacelle_operator.api.condition import Conditions
from nacelle_operator.api.engine_build_status import EngineRef
from nacelle_operator.api.inference_pool import POOL_IS_REACHED, InferencePool
from nacelle_operator.api.monitoring import Monitoring
from nacelle_operator.api.network import TRACES_CAN_LEAVE, Network
from nacelle_operator.api.pod import PodOverrides
from nacelle_operator.api.rollout import Rollout
from nacelle_operator.api.rollout_status import RolloutStatus
from nacelle_operator.api.schema import (
    AGE,
    ApiModel,
    Column,
    Name,
    Resource,
    Rule,
    Text,
    Word,
    condition_column,
)
from nacelle_operator.api.serving import Frontends, Runtime


class BuildRef(ApiModel):
    """One target of an EngineBuild of the namespace."""

    name: Name
    """The EngineBuild's name."""

    target: Annotated[
        str, Field(min_length=1, max_length=40, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    ]
    """The target's name in it."""


class EngineSource(ApiModel):
    """The engine to serve: a build's newest, or a fixed one."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.buildRef) != has(self.engineRef)",
            "engine needs exactly one of buildRef and engineRef",
        ),
    )

    build_ref: BuildRef | None = None
    """The engine that a build publishes for one target; a new one is rolled out by itself."""

    engine_ref: EngineRef | None = None
    """One Engine by its name."""


class InferenceDeploymentSpec(ApiModel):
    """What is served, by how many replicas, and how."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.rollout) || !has(self.rollout.canary) || !has(self.rollout.canary.route) || "
            "!has(self.frontends) || !has(self.frontends.openai.tlsSecretRef)",
            "rollout.canary.route sends plain HTTP to pods: end TLS at the Gateway, and leave "
            "frontends.openai.tlsSecretRef out",
        ),
        TRACES_CAN_LEAVE,
        *SLEEPS_AS_ONE,
        *POOL_IS_REACHED,
    )

    engine: EngineSource
    """The engine to serve."""

    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """How many pods serve. `kubectl scale` and autoscalers write it through /scale; beside
    autoscaling leave it out of manifests: it is where the autoscaler begins, and 0 turns it off."""

    autoscaling: Autoscaling | None = None
    """Who decides about replicas; left out: you do."""

    runtime: Runtime = Runtime()
    """Settings of the serving process."""

    frontends: Frontends = Frontends()
    """What clients can speak."""

    rollout: Rollout = Rollout()
    """How a new engine, or new settings, reach the pods."""

    pod: PodOverrides = PodOverrides()
    """What is added to the serving pods."""

    network: Network = Network()
    """Whom the serving pods can be reached by, and whom they can reach."""

    monitoring: Monitoring = Monitoring()
    """Who is told to read the pods' metrics."""

    inference_pool: InferencePool | None = None
    """Make an InferencePool; left out: none. A cluster that does not know the kind serves all the
    same, and the condition InferencePool says so."""


class InferenceDeploymentStatus(ApiModel):
    """What is served and how well."""

    observed_generation: int = 0
    """The generation of the spec that this status tells about."""

    conditions: Conditions = ()
    """Ready: the wanted engine is served by all replicas. Available: some engine is served.
    Autoscaling: the autoscaler does its work; only while spec.autoscaling is set.
    NetworkRestricted: the NetworkPolicy is in place; only while spec.network.policy is Restricted.
    Monitoring: the PodMonitor is in place; only while spec.monitoring.podMonitor is set.
    InferencePool: a Gateway has taken the pool; only while spec.inferencePool is set.
    Reconciling, Stalled: only while true."""

    replicas: Annotated[int, Field(ge=0)] = 0
    """Pods that exist."""

    ready_replicas: Annotated[int, Field(ge=0)] = 0
    """Pods that answer requests."""

    selector: Text = ""
    """The label selector of the pods, for autoscalers."""

    url: Text = ""
    """Where clients in the cluster reach it."""

    current_engine: Word = ""
    """The Engine that all ready pods serve."""

    target_engine: Word = ""
    """The Engine that is wanted; differs from currentEngine until it is rolled out."""

    previous_engine: Word = ""
    """The Engine that was served before the current one."""

    rollout: RolloutStatus | None = None
    """Which revision is live."""


class InferenceDeployment(Resource):
    """InferenceDeployment serves one engine behind one Service."""

    kind: ClassVar[str] = "InferenceDeployment"
    plural: ClassVar[str] = "inferencedeployments"
    short_name: ClassVar[str] = "idep"
    scalable: ClassVar[bool] = True
    columns: ClassVar[tuple[Column, ...]] = (
        condition_column("Ready", "Ready"),
        condition_column("Reason", "Ready", "reason"),
        Column("Engine", ".status.currentEngine"),
        Column("Replicas", ".status.readyReplicas", "integer"),
        Column("URL", ".status.url"),
        condition_column("Message", "Ready", "message", priority=1),
        condition_column("Autoscaling", "Autoscaling", "reason", priority=1),
        AGE,
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') "
            "&& self.metadata.name.size() <= 50",
            "metadata.name must begin with a letter, hold only a-z, 0-9 and '-', and have at most "
            "50 characters: the Service and the pods are named after it",
        ),
    )

    spec: InferenceDeploymentSpec
    """What is served, and how."""

    status: InferenceDeploymentStatus = InferenceDeploymentStatus()
    """What is served now; written by the operator."""
