"""What a reconcile decides to do: the one type between pure decisions and the API server."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

KubernetesObject = Mapping[str, Any]
"""An object as JSON: apiVersion, kind, metadata and the rest."""


@dataclass(frozen=True)
class Deletion:
    """An object to delete; with a uid only that very object, never one of the same name."""

    api_version: str
    kind: str
    name: str
    uid: str | None = None


@dataclass(frozen=True)
class Patch:
    """A few fields to merge into an object that is otherwise left as it is."""

    api_version: str
    kind: str
    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Event:
    """Something that just happened to the resource, for `kubectl describe`."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """Objects to apply in order, to create, to patch and to delete, then status and events.

    Of `creates`, those whose name is taken are left as they are: a Job's template is never
    applied again.

    Everything lies in the resource's namespace. A status of None is not written; one that equals
    the resource's present status need not be. requeue_seconds asks for another look after that
    time even if nothing changes. `uid` is that of the resource that it was made for, empty where
    that is gone: one that bears its name since is not meant.
    """

    objects: tuple[KubernetesObject, ...] = ()
    creates: tuple[KubernetesObject, ...] = ()
    patches: tuple[Patch, ...] = ()
    deletes: tuple[Deletion, ...] = ()
    status: Mapping[str, Any] | None = None
    requeue_seconds: float | None = None
    events: tuple[Event, ...] = ()
    uid: str = ""
