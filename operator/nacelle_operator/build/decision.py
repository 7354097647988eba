"""What is decided for one target: it is published, has failed for good, or goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from nacelle_engine.result import Accuracy, Failure
from nacelle_operator.plan import Deletion, KubernetesObject, Patch


@dataclass(frozen=True)
class Publishing:
    """The engine exists."""

    engine: str
    reason: str
    creates: tuple[KubernetesObject, ...] = ()
    patches: tuple[Patch, ...] = ()
    accuracy: Accuracy | None = None
    stage_seconds: Mapping[str, int] = field(default_factory=dict)

    def with_accuracy(self, accuracy: Accuracy | None) -> Self:
        """The same, with the figures that are stored."""
        return replace(self, accuracy=accuracy)


@dataclass(frozen=True)
class Failing:
    """Nothing will change by itself: the spec must, or what it names."""

    failure: Failure
    patches: tuple[Patch, ...] = ()
    deletes: tuple[Deletion, ...] = ()


@dataclass(frozen=True)
class Progressing:
    """Work goes on, or waits for something outside."""

    reason: str
    message: str
    stage: str = ""
    percent: int = 0
    node: str = ""
    attempts: int = 0
    memory: Mapping[str, str] = field(default_factory=dict)
    """What later attempts are given, by Job."""
    creates: tuple[KubernetesObject, ...] = ()
    deletes: tuple[Deletion, ...] = ()
    requeue: float | None = None


Decision = Publishing | Failing | Progressing
