"""What a build's plan is decided on: the objects that concern it, and what running pods say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nacelle_engine.progress import Progress
from nacelle_operator.api.engine import Engine
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.objects.gpu_labels import FEATURE_DISCOVERY, GpuLabels

Manifest = Mapping[str, Any]


@dataclass(frozen=True)
class Claim:
    """A claim of the namespace, as far as a build cares."""

    name: str
    exists: bool
    access_modes: tuple[str, ...] = ()

    @property
    def shared(self) -> bool:
        """Whether pods on several nodes can mount it for writing."""
        return "ReadWriteMany" in self.access_modes


@dataclass(frozen=True)
class Observed:
    """What concerns a build, as it was seen: Jobs and Engines by name, pods by their Job's name.

    Jobs are those that the build made, asks for or shares a key with; `builds` are all that ask for
    one of them, so that a Job that none of them wants is unwanted.
    """

    jobs: Mapping[str, Manifest] = field(default_factory=dict)
    pods: Mapping[str, Sequence[Manifest]] = field(default_factory=dict)
    engines: Mapping[str, Engine] = field(default_factory=dict)
    builds: Mapping[str, EngineBuild] = field(default_factory=dict)
    claims: Mapping[str, Claim] = field(default_factory=dict)
    progress: Mapping[str, Progress] = field(default_factory=dict)
    """The newest progress by the pod's uid."""
    ahead: frozenset[str] = frozenset()
    """Jobs made for a newer spec of their build than the one that is known."""
    gpu_labels: GpuLabels = FEATURE_DISCOVERY
    """By which nodes tell of their GPUs."""
