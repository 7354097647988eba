"""Every reason that a build's conditions and events give, and nothing else.

A failed target's reason is the typed code of its error (nacelle_engine.errors), or one of FAILURES.
"""

from typing import Final

# The build as a whole.
ALL_TARGETS_PUBLISHED: Final = "AllTargetsPublished"
"""Ready: every target has its engine."""
TARGETS_FAILED: Final = "TargetsFailed"
"""Not ready, and at least one target never will be as the spec is."""
BUILDING: Final = "Building"
"""Not ready yet: engines are being built."""
SUSPENDED: Final = "Suspended"
"""Not ready: the build is suspended."""
STORE_NOT_SHARED: Final = "ReadWriteOnce"
"""The store's claim is bound to one node, so all pods land there."""
TOOLCHAIN_OUTDATED: Final = "NewerBuilder"
"""The operator has a newer builder than the one that this generation is pinned to."""

# A published target.
PUBLISHED: Final = "EnginePublished"
"""The engine was built for this request."""
ALREADY_PUBLISHED: Final = "AlreadyPublished"
"""The engine existed: no Job was run."""

# A target that is at work or waits.
JOB_CREATED: Final = "JobCreated"
"""The Job exists and has no pod yet."""
RUNNING: Final = "BuildRunning"
"""A pod builds the engine."""
JOINED: Final = "JoinedExistingBuild"
"""Another build's Job makes the same engine; this one waits for it."""
QUEUED: Final = "Queued"
"""Kueue has not admitted the Job yet."""
NO_MATCHING_NODE: Final = "NoMatchingNode"
"""No node has what the architecture demands; the pod goes on when one appears."""
NO_ROOM: Final = "NoRoomOnNodes"
"""Nodes match, but none has enough left."""
CLAIM_NOT_FOUND: Final = "ClaimNotFound"
"""A claim does not exist; the pod goes on when it does."""
CLAIM_NOT_BOUND: Final = "ClaimNotBound"
"""A claim has no volume yet."""
IMAGE_NOT_PULLED: Final = "ImageNotPulled"
"""The builder's image cannot be pulled."""
CONTAINER_NOT_CREATED: Final = "ContainerNotCreated"
"""A secret or config map that the pod refers to is missing."""
STARTING: Final = "PodStarting"
"""The pod is on a node and starts."""
RETRYING: Final = "RetryingAttempt"
"""An attempt failed and another one follows."""
JOB_ENDING: Final = "JobEnding"
"""An earlier Job of the same name is going, or the last words of this one are awaited."""

# A target that has failed for good, beside the typed codes.
ATTEMPT_TIMEOUT: Final = "AttemptTimeout"
"""An attempt ran longer than job.attemptTimeout."""
SCHEDULING_TIMEOUT: Final = "SchedulingTimeout"
"""No node took the pod within job.schedulingTimeout."""
OUT_OF_MEMORY: Final = "OutOfMemory"
"""The container was ended by the kernel for its memory."""
RESULT_LOST: Final = "ResultLost"
"""Pods ended without a result, as often as attempts are allowed."""
BUILD_CRASHED: Final = "BuildCrashed"
"""The builder ended without saying why."""
ACCURACY_FAILED: Final = "AccuracyFailed"
"""The engine exists, but this build's bounds do not hold on its stored figures."""

# Events beside those reasons.
BUILD_STARTED: Final = "BuildStarted"
STAGE_DONE: Final = "StageDone"
BUILD_FAILED: Final = "BuildFailed"
JOB_DELETED: Final = "JobDeleted"
