"""Leader election by a Lease: who leads writes, and who cannot renew in time ends.

A leader's writes stop `renew_deadline` (6 s) after the last renewal was sent and each takes less
than 4 s, so they are over before a standby that saw that renewal waits out `duration` (10 s).
Only monotonic clocks are compared, each with itself; the times written are for people.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from nacelle_operator.errors import Conflict, NotFound, OperatorError
from nacelle_operator.kinds import LEASE, Kind

Manifest = dict[str, Any]
_SHORTEST_PAUSE = 0.25
_log = logging.getLogger(__name__)


class LeaseDoor(Protocol):
    """What the election needs of the API server."""

    def get(self, kind: Kind, namespace: str, name: str, timeout: float) -> Manifest:
        """The lease, live."""

    def write_lease(self, lease: Manifest, timeout: float) -> Manifest:
        """The lease created, or replaced at its version."""


@dataclass(frozen=True)
class LeaseTiming:
    """Seconds: how long a lease holds, how long its holder may miss renewals, between tries."""

    duration: int = 10
    renew_deadline: float = 6.0
    retry: float = 2.0
    request: float = 3.0


@dataclass(frozen=True)
class LeaseName:
    """Which lease, and under whose name it is held."""

    namespace: str
    name: str
    identity: str


class Leader:
    """One candidate: tries to take or renew the lease, in a thread of its own.

    Until `may_take` it only looks: the time that a dead holder's lease has left runs meanwhile.
    """

    def __init__(
        self,
        door: LeaseDoor,
        lease: LeaseName,
        on_lost: Callable[[], None],
        *,
        may_take: Callable[[], bool] = lambda: True,
        timing: LeaseTiming | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._door = door
        self._lease = lease
        self._on_lost = on_lost
        self._may_take = may_take
        self._timing = timing or LeaseTiming()
        self._clock = clock
        self._valid_until: float | None = None
        self._seen: tuple[str, float] = ("", 0.0)
        self._runs_out: float | None = None
        self._rival = False
        self._transitions: int | None = None
        self.looked = threading.Event()
        self.acquired = threading.Event()

    def holds(self) -> bool:
        """True while this process may write."""
        return self._valid_until is not None and self._clock() < self._valid_until

    def is_alone(self) -> bool:
        """Whether nobody else has held the lease since the first look, which went well."""
        return self._transitions is not None and not self._rival

    def run(self, stop: threading.Event) -> None:
        """Try again and again until stopped; a lost lease, or a defect, ends it by `on_lost`."""
        try:
            while not stop.is_set():
                if not self.step():
                    break
                stop.wait(self.pause())
            else:
                self.release()
                return
        except Exception:
            # Without this thread the process would live on, and never write again.
            _log.exception("lease %s: a defect of the operator", self._lease.name)
        self._on_lost()

    def step(self) -> bool:
        """One try; False when a lease that was held is lost."""
        try:
            self._try()
        except OperatorError as error:
            _log.warning("lease %s: %s", self._lease.name, error)
            self._rival = self._rival or not self.looked.is_set()
        self.looked.set()
        return self._valid_until is None or self.holds()

    def pause(self) -> float:
        """Seconds until the next try: the usual ones, or fewer when another's lease runs out."""
        if self._valid_until is not None or self._runs_out is None:
            return self._timing.retry
        return min(self._timing.retry, max(_SHORTEST_PAUSE, self._runs_out - self._clock()))

    def release(self) -> None:
        """Give the lease up, so that a standby need not wait it out."""
        if not self.holds():
            return
        self._valid_until = None
        try:
            current = self._read()
            if current and current["spec"].get("holderIdentity") == self._lease.identity:
                current["spec"].update(holderIdentity="", renewTime=_wall_time())
                self._door.write_lease(current, self._timing.request)
        except OperatorError as error:
            _log.warning("lease %s is not given up, it runs out: %s", self._lease.name, error)

    def _try(self) -> None:
        sent = self._clock()
        current = self._read()
        holder = current["spec"].get("holderIdentity", "") if current else ""
        if self._valid_until is None:
            self._look_for_rivals(current, holder)
        if current and holder not in ("", self._lease.identity):
            if self._valid_until is not None:
                _log.error("lease %s was taken by %s", self._lease.name, holder)
                self._valid_until = sent
                return
            if not self._has_run_out(current):
                return
        if self._valid_until is None and not self._may_take():
            self._runs_out = self._clock()
            return
        try:
            self._door.write_lease(self._renewed(current, holder), self._timing.request)
        except Conflict:
            return
        self._valid_until = sent + self._timing.renew_deadline
        if not self.acquired.is_set():
            _log.info("lease %s is held by %s", self._lease.name, self._lease.identity)
            self.acquired.set()

    def _look_for_rivals(self, current: Manifest | None, holder: str) -> None:
        transitions = int(current["spec"].get("leaseTransitions", 0)) if current else -1
        if self._transitions is None:
            self._transitions = transitions
        known = holder in ("", self._lease.identity) and transitions == self._transitions
        self._rival = self._rival or not known

    def _read(self) -> Manifest | None:
        try:
            return self._door.get(
                LEASE, self._lease.namespace, self._lease.name, self._timing.request
            )
        except NotFound:
            return None

    def _has_run_out(self, current: Manifest) -> bool:
        if self._seen[0] != current["metadata"]["resourceVersion"]:
            self._seen = (current["metadata"]["resourceVersion"], self._clock())
        duration = float(current["spec"].get("leaseDurationSeconds", 0))
        self._runs_out = self._seen[1] + duration
        return self._clock() >= self._runs_out

    def _renewed(self, current: Manifest | None, holder: str) -> Manifest:
        now = _wall_time()
        meta: Manifest = {"namespace": self._lease.namespace, "name": self._lease.name}
        spec: Manifest = {}
        if current:
            meta = current["metadata"]
            spec = current["spec"]
        if holder != self._lease.identity:
            changes = spec.get("leaseTransitions", -1) + 1
            spec = {**spec, "acquireTime": now, "leaseTransitions": changes}
        spec = {
            **spec,
            "holderIdentity": self._lease.identity,
            "leaseDurationSeconds": self._timing.duration,
            "renewTime": now,
        }
        return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": meta, "spec": spec}


def _wall_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
