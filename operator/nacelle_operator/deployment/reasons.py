"""Every reason that a deployment's conditions and events give, and nothing else."""

from typing import Final

# Nothing is wrong.
SERVING: Final = "Serving"
"""Ready: all replicas answer with the wanted engine."""
SCALED_TO_ZERO: Final = "ScaledToZero"
"""Ready, though nothing answers: no replicas are asked for."""

# On the way; it goes on by itself.
BUILD_NOT_FOUND: Final = "BuildNotFound"
"""The EngineBuild that is referred to does not exist yet."""
ENGINE_NOT_PUBLISHED: Final = "EngineNotPublished"
"""The target's engine is still being built."""
ENGINE_NOT_FOUND: Final = "EngineNotFound"
"""The Engine that is referred to does not exist yet, or no longer."""
ENGINE_NOT_VERIFIED: Final = "EngineNotVerified"
"""The Engine's bundle is still being checked."""
ROLLING_OUT: Final = "RollingOut"
"""Pods of the live revision are being started."""
NO_MATCHING_NODE: Final = "NoMatchingNode"
"""No node can take a pod: none matches the engine, or none has room."""
CONTAINER_NOT_CREATED: Final = "ContainerNotCreated"
"""A Secret or ConfigMap that the pods name is missing, or a key of it."""
IMAGE_NOT_PULLED: Final = "ImageNotPulled"
"""The runtime's image cannot be pulled."""

# Somebody has to do something.
TARGET_NOT_FOUND: Final = "TargetNotFound"
"""The EngineBuild has no target of that name."""
BUILD_FAILED: Final = "BuildFailed"
"""The target's build has failed for good."""
ENGINE_REFUSED: Final = "EngineRefused"
"""The Engine's bundle failed its checks."""
LIMIT_EXCEEDED: Final = "LimitExceeded"
"""The runtime is asked for more than the engine was built for."""
RUNTIME_IMAGE_MISSING: Final = "RuntimeImageMissing"
"""The operator has no runtime image for the engine's ABI."""
BUNDLE_REFUSED: Final = "BundleRefused"
"""The runtime refused the bundle: it belongs elsewhere, or is damaged."""
OUT_OF_MEMORY: Final = "OutOfMemory"
"""A pod was ended because it used more memory than its limit."""
CRASH_LOOPING: Final = "CrashLooping"
"""A pod's runtime ends again and again."""
ROLLOUT_STUCK: Final = "RolloutStuck"
"""The rollout made no progress within its deadline."""

# Of Available.
REPLICAS_READY: Final = "ReplicasReady"
"""Available: at least one replica answers."""
NO_REPLICA_READY: Final = "NoReplicaReady"
"""Not available: no replica answers."""
NO_ENGINE_YET: Final = "NoEngineYet"
"""Not available: there has been no engine to serve so far."""

# Of events alone.
ROLLOUT_STARTED: Final = "RolloutStarted"
"""A new revision goes live."""
