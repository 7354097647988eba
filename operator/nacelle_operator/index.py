"""What the cache finds objects by, other than their names: labels, and whom a resource names.

With thousands of resources in a namespace no reconcile can look at each of them.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.build.request import target_requests
from nacelle_operator.kinds import ENGINE_BUILD, INFERENCE_DEPLOYMENT, Kind
from nacelle_operator.objects import names

Manifest = Mapping[str, Any]
Indexer = Callable[[Manifest], Iterable[str]]
Indexers = Mapping[tuple[Kind, str], Indexer]
_Names = tuple[str, str]

# Labels by which children are found.
LABELS: Final = (
    names.BUILD,
    names.DEPLOYMENT,
    names.ENGINE,
    names.DRAFT_ENGINE,
    names.JOB_NAME,
    names.REQUEST_KEY,
)
# Names of what a resource refers to.
BY_ENGINE: Final = "engine"
BY_BUILD: Final = "build"
BY_JOB: Final = "job"
BY_REQUEST: Final = "request"
_REMEMBERED: Final = 10_000


def indexers(current: Toolchain) -> Indexers:
    """What builds and deployments are found by; `current` is what new generations are pinned to."""
    asked = _Asked(current)
    return {
        (ENGINE_BUILD, BY_ENGINE): engines_of_build,
        (ENGINE_BUILD, BY_JOB): asked.jobs,
        (ENGINE_BUILD, BY_REQUEST): asked.requests,
        (INFERENCE_DEPLOYMENT, BY_ENGINE): engines_of_deployment,
        (INFERENCE_DEPLOYMENT, BY_BUILD): build_of_deployment,
    }


def engines_of_build(build: Manifest) -> set[str]:
    """The Engines that a build's status says it has published."""
    targets = build.get("status", {}).get("targets", ())
    return {target["engineRef"]["name"] for target in targets if target.get("engineRef")}


def engines_of_deployment(deployment: Manifest) -> set[str]:
    """The Engines that a deployment names, serves, rolls out or may roll back to."""
    spec, status = deployment.get("spec", {}), deployment.get("status", {})
    speculative = spec.get("runtime", {}).get("speculative", {})
    refs = (spec.get("engine", {}).get("engineRef", {}), speculative.get("draftEngineRef", {}))
    used = (status.get(field) for field in ("currentEngine", "targetEngine", "previousEngine"))
    return {name for name in (*(ref.get("name") for ref in refs), *used) if name}


def build_of_deployment(deployment: Manifest) -> set[str]:
    """The build that a deployment serves a target of, if it names one."""
    name = deployment.get("spec", {}).get("engine", {}).get("buildRef", {}).get("name")
    return {name} if name else set()


class _Asked:
    """What builds ask for: the Jobs that they want or have had, and the labels of their keys.

    Worked out once a spec and toolchain: progress writes a status many times. Of each target the
    names of its Jobs and the label are kept.
    """

    def __init__(self, current: Toolchain) -> None:
        self._current = current
        self._known: dict[str, tuple[object, tuple[_Names, ...]]] = {}

    def jobs(self, build: Manifest) -> set[str]:
        """The Jobs that its targets ask for, and those that its status names."""
        targets = build.get("status", {}).get("targets", ())
        named = {job for target in targets for job in target.get("jobs", ())}
        return named.union(job for job, _ in self._requests(build))

    def requests(self, build: Manifest) -> set[str]:
        """The labels of its targets' keys."""
        return {label for _, label in self._requests(build)}

    def _requests(self, build: Manifest) -> tuple[_Names, ...]:
        meta, status = build["metadata"], build.get("status", {})
        pinned = (meta.get("generation"), status.get("observedGeneration"), status.get("toolchain"))
        known = self._known.pop(meta["uid"], None)
        if known is None or known[0] != pinned:
            known = (pinned, self._worked_out(build))
        self._known[meta["uid"]] = known
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return known[1]

    def _worked_out(self, build: Manifest) -> tuple[_Names, ...]:
        try:
            requests = target_requests(EngineBuild.parse(build), self._current)
            return tuple(
                (job, names.key_label(request.key)) for request in requests for job in request.jobs
            )
        except ValueError:
            # One that an older definition let in: its own reconcile tells, others go on.
            return ()
