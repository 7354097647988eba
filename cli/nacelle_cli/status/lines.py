"""A snapshot as lines of text, each of which says by itself what it is about."""

from collections.abc import Iterator

from nacelle_cli.status.advice import ADVICE
from nacelle_cli.status.facts import Build, Deployment, Snapshot, State, Target

PHASES = {
    "Unseen": "not seen yet",
    "UnderWay": "under way",
    "Held": "held",
    "Failed": "failed",
    "Ready": "ready",
}


def lines(snapshot: Snapshot) -> tuple[str, ...]:
    """The whole of it; one sentence when there is nothing."""
    found = (*_builds(snapshot), *_deployments(snapshot))
    return found or (nothing(snapshot),)


def changed(before: Snapshot | None, now: Snapshot) -> tuple[str, ...]:
    """The lines that were not there before, and one for each resource that is gone."""
    if before is None:
        return lines(now)
    known, there = set(lines(before)), set(_names(now))
    gone = (f"{name} is gone" for name in _names(before) if name not in there)
    return (*gone, *(line for line in lines(now) if line not in known))


def nothing(snapshot: Snapshot) -> str:
    """What is said of a namespace without resources of ours."""
    return f"no EngineBuild and no InferenceDeployment in namespace {snapshot.namespace}"


def summary(kind: str, name: str, state: State) -> str:
    """One resource's state: its kind and name, and why it is so."""
    return f"{kind} {name}: {PHASES[state.phase]}: {state.reason}: {state.message}"


def note(target: Target) -> str:
    """What goes on in a target, or what went wrong."""
    state = target.state
    if state.phase == "Failed":
        where = f"failed in {target.stage}" if target.stage else "failed"
        return f"{where}: {state.reason}: {state.message}"
    if state.phase == "Ready":
        return state.message
    if state.phase == "UnderWay" and target.stage:
        return f"{target.stage}: {target.message}"
    return f"{state.reason}: {state.message}"


def advice(target: Target) -> str:
    """What to do about a failed target; empty where the message itself has to do."""
    return ADVICE.get(target.state.reason, "") if target.state.phase == "Failed" else ""


def served(deployment: Deployment) -> str:
    """The engine, the replicas, the revision and the address; what is not there is left out."""
    engine = f"engine {deployment.engine}" if deployment.engine else "no engine"
    wanted = deployment.target_engine
    coming = f" ({wanted} is wanted)" if wanted and wanted != deployment.engine else ""
    parts = [
        engine + coming,
        f"{deployment.ready_replicas} of {deployment.replicas} replicas answer",
        f"revision {deployment.revision}" if deployment.revision else "",
        deployment.url,
    ]
    return ", ".join(part for part in parts if part)


def _builds(snapshot: Snapshot) -> Iterator[str]:
    for build in snapshot.builds:
        yield summary("EngineBuild", build.name, build.state)
        yield from _targets(build)


def _targets(build: Build) -> Iterator[str]:
    for target in build.targets:
        name = f"{build.name}/{target.name} ({target.architecture})"
        yield f"  {name}: {target.percent} % {note(target)}"
        if said := advice(target):
            yield f"  {name}: to do: {said}"


def _deployments(snapshot: Snapshot) -> Iterator[str]:
    for deployment in snapshot.deployments:
        yield summary("InferenceDeployment", deployment.name, deployment.state)
        yield f"  {deployment.name}: {served(deployment)}"


def _names(snapshot: Snapshot) -> Iterator[str]:
    for build in snapshot.builds:
        yield f"EngineBuild {build.name}"
    for deployment in snapshot.deployments:
        yield f"InferenceDeployment {deployment.name}"
