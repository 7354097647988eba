"""What a namespace builds and serves, as facts that a line or a bar can show."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from nacelle_engine.frozen import Frozen

Manifest = Mapping[str, Any]
Phase = Literal["Unseen", "UnderWay", "Held", "Failed", "Ready"]
_UNSEEN = "the operator has not seen generation {} yet: does it run, and look after this namespace?"


class State(Frozen):
    """How something is, by its conditions, and why."""

    phase: Phase
    """Unseen: the operator has not looked at the present spec. UnderWay: it goes on by itself.
    Held: it waits because the spec says so. Failed: somebody has to do something."""

    reason: str
    message: str


class Target(Frozen):
    """One engine that a build makes."""

    name: str
    architecture: str
    state: State
    stage: str
    percent: int
    message: str
    engine: str


class Build(Frozen):
    """An EngineBuild and its targets."""

    name: str
    state: State
    targets: tuple[Target, ...]


class Deployment(Frozen):
    """An InferenceDeployment; `revision` is None before there is one."""

    name: str
    state: State
    engine: str
    target_engine: str
    ready_replicas: int
    replicas: int
    revision: int | None
    url: str


class Snapshot(Frozen):
    """All that is shown of one namespace at one moment."""

    namespace: str
    builds: tuple[Build, ...] = ()
    deployments: tuple[Deployment, ...] = ()

    @property
    def states(self) -> tuple[State, ...]:
        """Every resource's state."""
        builds = (build.state for build in self.builds)
        return (*builds, *(deployment.state for deployment in self.deployments))

    @property
    def is_at_rest(self) -> bool:
        """Nothing changes any more by itself."""
        return all(state.phase not in ("Unseen", "UnderWay") for state in self.states)

    @property
    def has_failed(self) -> bool:
        """Something needs somebody to do something."""
        return any(state.phase == "Failed" for state in self.states)


def snapshot(
    namespace: str, builds: Iterable[Manifest], deployments: Iterable[Manifest]
) -> Snapshot:
    """The facts of resources as the API server gives them, by name."""
    return Snapshot(
        namespace=namespace,
        builds=tuple(sorted((read_build(raw) for raw in builds), key=lambda b: b.name)),
        deployments=tuple(
            sorted((read_deployment(raw) for raw in deployments), key=lambda d: d.name)
        ),
    )


def read_build(raw: Manifest) -> Build:
    """The facts of an EngineBuild; targets that have no status yet are there with 0 percent."""
    state = _state(raw)
    known = {target["name"]: target for target in _status(raw).get("targets", ())}
    return Build(
        name=raw["metadata"]["name"],
        state=state,
        targets=tuple(
            _target(wanted, known.get(wanted["name"]), state) for wanted in raw["spec"]["targets"]
        ),
    )


def read_deployment(raw: Manifest) -> Deployment:
    """The facts of an InferenceDeployment."""
    status = _status(raw)
    return Deployment(
        name=raw["metadata"]["name"],
        state=_state(raw),
        engine=status.get("currentEngine", ""),
        target_engine=status.get("targetEngine", ""),
        ready_replicas=status.get("readyReplicas", 0),
        replicas=raw["spec"].get("replicas", 1),
        revision=(status.get("rollout") or {}).get("revision"),
        url=status.get("url", ""),
    )


def _target(wanted: Manifest, known: Manifest | None, build: State) -> Target:
    return Target(
        name=wanted["name"],
        architecture=wanted["architecture"],
        state=_judge(known.get("conditions", ()), build) if known else build,
        stage=known.get("stage", "") if known else "",
        percent=known.get("percent", 0) if known else 0,
        message=known.get("message", "") if known else "",
        engine=(known.get("engineRef") or {}).get("name", "") if known else "",
    )


def _state(raw: Manifest) -> State:
    generation = raw["metadata"]["generation"]
    unseen = State(phase="Unseen", reason="NotSeenYet", message=_UNSEEN.format(generation))
    if _status(raw).get("observedGeneration") != generation:
        return unseen
    return _judge(_status(raw).get("conditions", ()), unseen)


def _judge(conditions: Iterable[Manifest], otherwise: State) -> State:
    found = {condition["type"]: condition for condition in conditions}
    ready = found.get("Ready")
    if ready is None:
        return otherwise
    return State(phase=_phase(found), reason=ready["reason"], message=ready.get("message", ""))


def _phase(conditions: Mapping[str, Manifest]) -> Phase:
    def holds(kind: str) -> bool:
        return conditions.get(kind, {}).get("status") == "True"

    if holds("Stalled"):
        return "Failed"
    if holds("Ready"):
        return "Ready"
    return "UnderWay" if holds("Reconciling") else "Held"


def _status(raw: Manifest) -> Manifest:
    status: Manifest = raw.get("status") or {}
    return status
