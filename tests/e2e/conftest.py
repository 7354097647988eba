"""A real cluster with the operator installed, one for all end-to-end tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import small_models

from nacelle_builder.fetch.demo_model import NAME as MODEL
from nacelle_builder.fetch.fetch import fetch
from nacelle_builder.settings import HubAccess
from nacelle_cluster.cluster import Embedded
from nacelle_cluster.connection import external
from nacelle_demo.kubectl import Kubectl, condition, is_true
from nacelle_demo.settings import Settings, read_settings
from nacelle_demo.stack import Stack, bring_up, publish_images
from nacelle_demo.waiting import wait_for
from nacelle_operator.objects import names

BUILD_SECONDS = 600.0
READY_SECONDS = 180.0
# What a failure's text has of pods and events; an event's time is that of its first.
_CONTAINER = ".status.containerStatuses[*]"
_POD_COLUMNS = {
    "POD": ".metadata.name",
    "READY": f"{_CONTAINER}.ready",
    "RESTARTS": f"{_CONTAINER}.restartCount",
    "ENDED": f"{_CONTAINER}.lastState.terminated.reason",
    "IP": ".status.podIP",
    "BEGAN": ".status.startTime",
    "DELETED": ".metadata.deletionTimestamp",
}
_EVENT_COLUMNS = {
    "FIRST": ".metadata.creationTimestamp",
    "COUNT": ".count",
    "REASON": ".reason",
    "OBJECT": ".involvedObject.name",
    "MESSAGE": ".message",
}
_EVENTS = 40


@pytest.fixture(scope="session")
def settings() -> Settings:
    return read_settings()


@pytest.fixture(scope="session")
def stack(settings: Settings) -> Iterator[Stack]:
    """The stack, fresh; an embedded cluster is taken down afterwards."""
    embedded = Embedded(settings.cluster.name, settings.cluster.home)
    given = external(settings.cluster)
    if given is None:
        embedded.down(wipe=False)
    cluster = bring_up(settings, print)
    stack = publish_images(settings, cluster, print)
    stack.install_operator()
    yield stack
    if given is None:
        embedded.down(wipe=False)
        assert embedded.leftovers() == []


@pytest.fixture(scope="session")
def smollm2(settings: Settings) -> Path:
    """The demo's model, fetched."""
    folder = settings.models / MODEL
    fetch(MODEL, folder, HubAccess.from_environment())
    return folder


@pytest.fixture(scope="session")
def checkpoints(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SmolLM2, a tiny sound model and every spoiled one, by name."""
    root = tmp_path_factory.mktemp("models")
    tiny = small_models.sound(root / "tiny", smollm2)
    spoiled = {name: small_models.spoiled(name, root / name, tiny) for name in small_models.SPOILED}
    return {"smollm2": smollm2, "tiny": tiny, **spoiled}


@dataclass(frozen=True)
class Place:
    """A namespace whose claim `models` holds every checkpoint."""

    kubectl: Kubectl
    namespace: str

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply objects here."""
        for manifest in manifests:
            manifest["metadata"]["namespace"] = self.namespace
        self.kubectl.apply(*manifests)

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object of this namespace."""
        return self.kubectl.get(kind, name, self.namespace)

    def delete(self, kind: str, name: str) -> None:
        """Delete an object and wait until it is gone."""
        self.kubectl.run("-n", self.namespace, "delete", kind, name, "--timeout=60s", deadline=90)

    def until(self, kind: str, name: str, what: str, holds: Any, deadline: float) -> dict[str, Any]:
        """The object once `holds` says so; what it was last is in the failure's text."""
        seen: dict[str, Any] = {}

        def look() -> dict[str, Any] | None:
            seen.clear()
            seen.update(self.get(kind, name) or {})
            return dict(seen) if seen and holds(seen) else None

        try:
            return wait_for(f"{kind} {name}: {what}", look, deadline=deadline, pause=1.0)
        except Exception as error:
            raise AssertionError(f"{error}; its status: {seen.get('status')}") from error

    def pods_of(self, kind: str, name: str) -> str:
        """The pods of a resource, a line each, for a failure's text."""
        label = {"enginebuild": names.BUILD, "inferencedeployment": names.DEPLOYMENT}[kind]
        return self._table("pods", _POD_COLUMNS, "-l", f"{label}={name}")

    def events(self) -> str:
        """What was told here last, the newest first, for a failure's text."""
        title, *lines = self._table(
            "events", _EVENT_COLUMNS, "--sort-by=.metadata.creationTimestamp"
        ).splitlines()
        return "\n".join([title, *lines[: -_EVENTS - 1 : -1]])

    def _table(self, kind: str, columns: dict[str, str], *options: str) -> str:
        wanted = ",".join(f"{title}:{field}" for title, field in columns.items())
        command = ("-n", self.namespace, "get", kind, "-o", f"custom-columns={wanted}", *options)
        return self.kubectl.run(*command)

    def until_ready(self, kind: str, name: str, deadline: float) -> dict[str, Any]:
        """The object once its Ready condition is true for its generation."""
        return self.until(kind, name, "Ready", lambda found: is_true(found, "Ready"), deadline)

    def until_condition(
        self, kind: str, name: str, type_: str, reason: str, deadline: float
    ) -> dict[str, Any]:
        """The condition once it has this reason."""

        def holds(found: dict[str, Any]) -> bool:
            return (condition(found, type_) or {}).get("reason") == reason

        found = self.until(kind, name, f"{type_} {reason}", holds, deadline)
        return condition(found, type_) or {}


@pytest.fixture(scope="session")
def place(stack: Stack, checkpoints: dict[str, Path]) -> Place:
    """The namespace of the end-to-end tests."""
    name = "nacelle-e2e"
    stack.prepare_namespace(name)
    stack.load_models(name, checkpoints)
    return Place(stack.kubectl, name)
