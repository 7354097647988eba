"""What a Job of ours has come to, read from the Job and its pods alone.

Waiting ---> Running ---> Succeeded, HandedOver
   |            |   `---> Failed, Lost  (a typed code; or no pod tells how it ended)
   `------------+------> Ending          (going, or finished while a pod still runs)
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nacelle_engine.errors import OutOfMemory
from nacelle_engine.result import Failure, Published, parse_result
from nacelle_operator.build import reasons
from nacelle_operator.objects import names
from nacelle_operator.objects.job_pod import DISRUPTED, KILLED

Manifest = Mapping[str, Any]
# A pod that is to end has this long to say so, beyond the moment by which it must have ended.
_LOST_AFTER = timedelta(seconds=30)
# What the Job controller says of a pod that failed by one of these rules of its podFailurePolicy.
_KILLED_SAID = re.compile(rf"exit code ({KILLED}|{OutOfMemory.exit_code}) matching FailJob rule")


@dataclass(frozen=True)
class Waiting:
    """No pod runs yet: why, and whether a person should hear of it."""

    reason: str
    message: str
    since: datetime | None = None
    requeue: float | None = None


@dataclass(frozen=True)
class Running:
    """A pod is at work."""

    pod: str
    uid: str
    node: str


@dataclass(frozen=True)
class Ending:
    """The Job is going, or it has finished and a pod of it has not ended yet."""

    message: str


@dataclass(frozen=True)
class Lost:
    """The Job has ended and no pod tells with what; or its pod was killed and is gone."""


@dataclass(frozen=True)
class Failed:
    """The Job has failed for good."""

    failure: Failure


@dataclass(frozen=True)
class HandedOver:
    """The Job has done its part, and left it in the store for the one that publishes."""


@dataclass(frozen=True)
class Succeeded:
    """The Job has published its engine, or found it published."""

    published: Published


Outcome = Waiting | Running | Ending | Lost | Failed | HandedOver | Succeeded


def is_told(job: Manifest, pods: Sequence[Manifest]) -> bool:
    """Whether these pods tell how a Job has ended; False where it has, and one that counts lacks.

    A pod that was disrupted counts for nothing.
    """
    if job["metadata"].get("deletionTimestamp"):
        return True
    if _condition(job, "Complete"):
        return any(pod.get("status", {}).get("phase") == "Succeeded" for pod in pods)
    if _condition(job, "Failed"):
        failures = (failure for pod in pods if (failure := failure_of(pod)))
        counted = sum(failure.code != reasons.DISRUPTED for failure in failures)
        return counted >= max(1, job["status"].get("failed") or 0)
    return True


def read_outcome(job: Manifest, pods: Sequence[Manifest], now: datetime) -> Outcome:
    """The outcome of a Job; `pods` are its own, in any order, and all of them if it has finished
    and those at hand did not tell (`is_told`).
    """
    if job["metadata"].get("deletionTimestamp"):
        return Ending(f"Job {job['metadata']['name']} is going")
    newest_first = sorted(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))[::-1]
    complete, failed = _condition(job, "Complete"), _condition(job, "Failed")
    if complete:
        return _read_complete(newest_first)
    if failed:
        return _read_failed(failed, newest_first)
    return _read_active(job, newest_first, now)


def failure_of(pod: Manifest) -> Failure | None:
    """Why a pod has failed, typed; None when it has not failed."""
    status = pod.get("status", {})
    ended = _terminated(pod)
    if status.get("phase") != "Failed" and not (ended and ended.get("exitCode")):
        return None
    if status.get("reason") == "DeadlineExceeded":
        return Failure(
            code=reasons.ATTEMPT_TIMEOUT,
            message="the attempt ran longer than job.attemptTimeout",
        )
    result = parse_result(ended.get("message", "")) if ended else None
    if result and result.failure:
        return result.failure
    disrupted = _condition(pod, DISRUPTED)
    if disrupted:
        said = f"{disrupted.get('reason', '')}: {disrupted.get('message', '')}".strip(": ")
        return Failure(code=reasons.DISRUPTED, message=said)
    if ended and (ended.get("reason") == "OOMKilled" or ended.get("exitCode") == KILLED):
        return Failure(
            code=reasons.OUT_OF_MEMORY,
            message="the container was killed (137), by the kernel for its memory in most cases",
        )
    said = status.get("message") or (f"exit code {ended.get('exitCode')}" if ended else "evicted")
    return Failure(
        code=reasons.BUILD_CRASHED, message=f"the builder ended without a result: {said}"
    )


def _read_complete(pods: Sequence[Manifest]) -> Outcome:
    for pod in pods:
        ended = _terminated(pod)
        result = parse_result(ended.get("message", "")) if ended else None
        if result and result.published:
            return Succeeded(result.published)
        if result and result.prepared:
            return HandedOver()
    if _is_at_work(pods):
        return Ending("the Job is complete, its pod's result is awaited")
    return Lost()


def _read_failed(failed: Manifest, pods: Sequence[Manifest]) -> Outcome:
    failures = [failure for pod in pods if (failure := failure_of(pod))]
    if failures:
        own = (failure for failure in failures if failure.code != reasons.DISRUPTED)
        return Failed(next(own, failures[0]))
    if _is_at_work(pods):
        return Ending("the Job has failed, its pod's last words are awaited")
    said = failed.get("message") or failed.get("reason", "")
    if _KILLED_SAID.search(said):
        # Killed and deleted: whether for its memory, only its pod could have told.
        return Lost()
    return Failed(Failure(code=reasons.BUILD_CRASHED, message=f"the Job has failed: {said}"))


def _is_at_work(pods: Sequence[Manifest]) -> bool:
    """Whether one has neither ended nor is to go: it will tell how its Job ended."""
    return any(
        pod.get("status", {}).get("phase") in ("Pending", "Running")
        and not pod["metadata"].get("deletionTimestamp")
        for pod in pods
    )


def _read_active(job: Manifest, pods: Sequence[Manifest], now: datetime) -> Outcome:
    if job["spec"].get("suspend"):
        queue = job["metadata"].get("labels", {}).get(names.QUEUE_NAME, "")
        return Waiting(reasons.QUEUED, f"queue {queue} has not admitted the Job yet")
    failures = [failure for pod in pods if (failure := failure_of(pod))]
    for pod in pods:
        meta, phase = pod["metadata"], pod.get("status", {}).get("phase")
        # A pod that has ended well is at work until its Job says so.
        if phase in ("Running", "Succeeded") and not meta.get("deletionTimestamp"):
            return Running(meta["name"], meta["uid"], pod["spec"].get("nodeName") or "")
        if phase == "Running":
            return _read_leaving(pod, now)
        if phase == "Pending":
            return _read_pending(pod)
    if failures:
        return _read_retried(failures)
    return Waiting(reasons.JOB_CREATED, "the Job has no pod yet")


def _read_leaving(pod: Manifest, now: datetime) -> Waiting:
    """A Job with a podFailurePolicy starts no other pod before this one is known to have ended."""
    meta, node = pod["metadata"], pod["spec"].get("nodeName")
    left = _moment(meta["deletionTimestamp"]) + _LOST_AFTER - now
    if left > timedelta():
        said = f"pod {meta['name']} is ended on node {node}: another follows"
        return Waiting(reasons.DISRUPTED, said, requeue=left.total_seconds())
    return Waiting(
        reasons.NODE_LOST,
        f"node {node} does not say that pod {meta['name']} has ended, and no other may begin "
        "before: repair the node; or delete it, or the pod with --force, once nothing runs there",
    )


def _read_retried(failures: Sequence[Failure]) -> Waiting:
    newest = failures[0]
    if newest.code == reasons.DISRUPTED:
        said = f"an attempt was ended ({newest.message}): another goes on from its last stage"
        return Waiting(reasons.DISRUPTED, said)
    count = sum(failure.code != reasons.DISRUPTED for failure in failures)
    said = f"attempt {count} failed, another follows: {newest.code}: {newest.message}"
    return Waiting(reasons.RETRYING, said)


def _read_pending(pod: Manifest) -> Waiting:
    scheduled = _condition(pod, "PodScheduled", status="False")
    if scheduled:
        message = scheduled.get("message", "")
        created = _moment(pod["metadata"]["creationTimestamp"])
        return Waiting(_unscheduled_reason(message), message, since=created)
    for state in _container_states(pod):
        waiting = state.get("waiting", {})
        reason, said = waiting.get("reason", ""), waiting.get("message", "")
        if "Image" in reason:
            return Waiting(reasons.IMAGE_NOT_PULLED, f"{reason}: {said}")
        if reason.startswith("Create") and reason.endswith("Error"):
            return Waiting(reasons.CONTAINER_NOT_CREATED, f"{reason}: {said}")
    return Waiting(reasons.STARTING, "the pod starts")


def _unscheduled_reason(message: str) -> str:
    text = message.lower()
    if "persistentvolumeclaim" in text and "not found" in text:
        return reasons.CLAIM_NOT_FOUND
    if "unbound immediate persistentvolumeclaims" in text:
        return reasons.CLAIM_NOT_BOUND
    matching = "didn't match" not in text and "had untolerated taint" not in text
    if "insufficient" in text and matching:
        return reasons.NO_ROOM
    return reasons.NO_MATCHING_NODE


def _terminated(pod: Manifest) -> dict[str, Any]:
    for state in _container_states(pod):
        if "terminated" in state:
            return dict(state["terminated"])
    return {}


def _container_states(pod: Manifest) -> Iterable[Manifest]:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return (status.get("state", {}) for status in statuses)


def _condition(manifest: Manifest, type_: str, status: str = "True") -> Manifest | None:
    conditions: Iterable[Manifest] = manifest.get("status", {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == type_ and c["status"] == status), None)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
