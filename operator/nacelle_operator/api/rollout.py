"""How a new engine, or new settings, reach the pods: three strategies and what they need."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nacelle_operator.api.duration import Duration
from nacelle_operator.api.schema import ApiModel, Name, Rule

Percent = Annotated[int, Field(ge=1, le=100)]


class BlueGreen(ApiModel):
    """All new pods beside all old ones, then one switch of the Service."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.pause) || self.autoPromote",
            "blueGreen.pause has no meaning with autoPromote false, which needs rollout.promote",
        ),
    )

    auto_promote: bool = True
    """Switch by itself; if not, rollout.promote has to name the revision."""

    pause: Duration | None = None
    """How long all new pods must have been ready before the switch; left out: no time."""

    scale_down_delay: Duration = "30s"
    """How long the old pods stay after the switch. Till then the way back is one switch, too."""


class CanaryStep(ApiModel):
    """A share of the requests for the new pods, and how long it stays so."""

    weight_percent: Percent
    """The share that the new pods get. Without a route it is their share of the pods: at least
    one new one and, below 100, at least one old one."""

    pause: Duration | None = None
    """How long this step lasts from when its pods are ready; left out: until rollout.promote names
    it."""


class GatewayRef(ApiModel):
    """A Gateway that the route belongs to."""

    name: Name
    """The Gateway's name."""

    namespace: Name | None = None
    """Its namespace; left out: this one."""

    section_name: Name | None = None
    """One of its listeners; left out: all that take the route."""


class CanaryRoute(ApiModel):
    """An HTTPRoute of the Gateway API, named as the resource, that weighs the two revisions."""

    parent_refs: Annotated[tuple[GatewayRef, ...], Field(min_length=1, max_length=8)]
    """The Gateways."""

    hostnames: Annotated[
        tuple[
            Annotated[
                str,
                Field(
                    min_length=1,
                    max_length=253,
                    pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
                ),
            ],
            ...,
        ],
        Field(max_length=16),
    ] = ()
    """The host names that it takes requests for; left out: those of the Gateways."""


class Canary(ApiModel):
    """The new pods get more of the requests from step to step."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.steps.map(step, step.weightPercent).isSorted()",
            "canary.steps: weightPercent must not fall from one step to the next",
        ),
    )

    steps: Annotated[tuple[CanaryStep, ...], Field(min_length=1, max_length=20)]
    """One after another; after the last one the new pods serve everything."""

    route: CanaryRoute | None = None
    """Weigh requests at a Gateway, however many pods there are; the old pods stay at full number
    until the end. Left out: by numbers of pods behind the one Service."""


class Checks(ApiModel):
    """What the new pods' own metrics must say of a step: of a canary's each, of blue-green's the
    time after the switch."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.maxErrorPercent) || has(self.maxTimeToFirstTokenMilliseconds)",
            "rollout.checks needs maxErrorPercent or maxTimeToFirstTokenMilliseconds",
        ),
    )

    max_error_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Requests that the new pods may refuse, of all that ended but those that clients cancelled
    (nacelle_requests_total)."""

    max_time_to_first_token_milliseconds: Annotated[int, Field(ge=1, le=3_600_000)] | None = None
    """How long a first token may take, on average (nacelle_time_to_first_token_seconds)."""

    min_requests: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    """Fewer requests than that in a step prove nothing: it is passed."""


class Rollout(ApiModel):
    """How a new engine, or new settings, reach the pods."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.maxUnavailable > 0 || self.maxSurge > 0",
            "rollout.maxUnavailable and rollout.maxSurge cannot both be 0: no pod could go",
        ),
        Rule(
            "!has(self.blueGreen) || self.strategy == 'BlueGreen'",
            "rollout.blueGreen has a meaning with strategy BlueGreen only: leave it out",
        ),
        Rule(
            "!has(self.canary) || self.strategy == 'Canary'",
            "rollout.canary has a meaning with strategy Canary only: leave it out",
        ),
        Rule(
            "has(self.canary) || self.strategy != 'Canary'",
            "rollout.strategy Canary needs rollout.canary.steps",
        ),
        Rule(
            "!has(self.checks) || self.strategy != 'RollingUpdate'",
            "rollout.checks has no meaning with strategy RollingUpdate, which has no steps: "
            "use Canary or BlueGreen",
        ),
    )

    strategy: Literal["RollingUpdate", "BlueGreen", "Canary"] = "RollingUpdate"
    """RollingUpdate replaces pods one after another behind one Service. BlueGreen brings up all
    new pods, then switches the Service. Canary gives the new pods more requests step by step."""

    max_unavailable: Annotated[int, Field(ge=0, le=1000)] = 0
    """Replicas that may be missing while pods are replaced: say 1 where there is no room for a pod
    more. BlueGreen always needs room for all replicas again."""

    max_surge: Annotated[int, Field(ge=0, le=1000)] = 1
    """Pods that may run beside the replicas while pods are replaced. BlueGreen, and Canary with a
    route, run a second set instead."""

    progress_deadline_seconds: Annotated[int, Field(ge=30, le=86_400)] = 600
    """How long a rollout may make no progress before it has failed: the old revision serves on."""

    blue_green: BlueGreen | None = None
    """Of strategy BlueGreen; left out: as its fields say."""

    canary: Canary | None = None
    """Of strategy Canary."""

    checks: Checks | None = None
    """Bounds that new pods are measured by; a revision above one of them fails."""

    promote: (
        Annotated[str, Field(max_length=24, pattern=r"^[1-9][0-9]{0,9}(/[1-9][0-9]?)?$")] | None
    ) = None
    """Lets a rollout that waits go on: "7" takes revision 7 through all that is left, "7/2" ends
    its step 2. It says nothing about any other revision, so it may stay."""

    paused: bool = False
    """While true no revision starts, goes a step further, fails or is taken back. Numbers of pods
    still follow replicas."""

    revision_history_limit: Annotated[int, Field(ge=0, le=100)] = 4
    """Revisions that are kept and shown beside the newest one and those that have pods."""
