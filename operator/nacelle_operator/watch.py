"""kopf as a watch and nothing more: every event of what the operator knows goes to one function.

The only file with kopf. No handler that reacts to changes is registered, so kopf writes nothing:
no finalizer, no annotation, no Event, no peering object.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from nacelle_operator.kinds import CHILDREN, RESOURCES, Kind

Sink = Callable[[Kind, str | None, Mapping[str, Any]], None]
_log = logging.getLogger(__name__)


class Watch:
    """Watches all kinds from a thread with an event loop of its own; `sink` is called there."""

    def __init__(self, namespaces: tuple[str, ...], child_selector: str, sink: Sink) -> None:
        self._namespaces = namespaces
        self._selector = child_selector
        self._sink = sink
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def has_ended(self) -> bool:
        """True once the watch has begun and ended again, wished or not."""
        return self._thread.ident is not None and not self._thread.is_alive()

    def close(self) -> None:
        """End all watches; waits some seconds at most."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry(),
                    settings=self._settings(),
                    standalone=True,
                    clusterwide=not self._namespaces,
                    namespaces=self._namespaces,
                    stop_flag=self._stop,
                )
            )
        except Exception:
            _log.exception("the watch has failed")

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(kopf.login_via_client)
        for kind in (*RESOURCES, *CHILDREN):
            kopf.on.event(
                group=kind.group, version=kind.version, plural=kind.plural, registry=registry
            )(self._handler(kind))
        return registry

    def _handler(self, kind: Kind) -> Callable[..., Any]:
        async def take_in(event: kopf.RawEvent, **_: Any) -> None:
            self._sink(kind, event["type"], event["object"])

        return take_in

    def _settings(self) -> kopf.OperatorSettings:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = _NoDifferences()
        settings.persistence.progress_storage = _NoProgress()
        settings.peering.standalone = True
        settings.scanning.disabled = True
        settings.queueing.worker_limit = None
        settings.queueing.idle_timeout = 0.05
        # Watches die silently; both sides end them in time and they begin again.
        settings.watching.server_timeout = 240
        settings.watching.client_timeout = 270
        settings.watching.connect_timeout = 10
        settings.watching.reconnect_backoff = 1.0
        # Whole lists of thousands of objects, all kinds' at once, would be most of the memory.
        settings.watching.chunk_size = 100
        settings.networking.request_timeout = 60
        settings.networking.connect_timeout = 10
        for kind in CHILDREN:
            key = (kind.group, kind.version, kind.plural)
            settings.watching.label_selectors[key] = self._selector
        return settings


class _NoDifferences(kopf.DiffBaseStorage):
    """Nothing is compared with what was handled last: kopf would copy every object to find out."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:
        """The part of an object that is compared: none."""
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        """What was handled last: unknown."""
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Keep nothing."""


class _NoProgress(kopf.ProgressStorage):
    """No handler's progress is kept in objects, so there is none to look for."""

    def fetch(self, *, key: Any, body: kopf.Body) -> Any:
        """A handler's progress: none."""
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Keep nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Nothing was kept."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Never write to wake oneself."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        """Nothing of ours is in an object."""
        return essence
