"""The operator's process: what is started in which order, and what ends it."""

import asyncio
import contextlib
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from nacelle_operator.build.planner import BuildPlanner
from nacelle_operator.cache import ObjectCache
from nacelle_operator.claim_reader import ClaimReader
from nacelle_operator.cluster import Cluster, connect
from nacelle_operator.deployment.planner import DeploymentPlanner, Readers
from nacelle_operator.engines.planner import EnginePlanner
from nacelle_operator.feed import CHILD_SELECTOR, Feed
from nacelle_operator.health import HealthServer
from nacelle_operator.index import indexers
from nacelle_operator.kinds import ENGINE, ENGINE_BUILD, INFERENCE_DEPLOYMENT, Kind
from nacelle_operator.leader import Leader, LeaseName
from nacelle_operator.live_look import LiveLook
from nacelle_operator.metrics import Metrics
from nacelle_operator.metrics_reader import MetricsReader, pool_of_pods
from nacelle_operator.name_reader import NameReader
from nacelle_operator.progress_reader import ProgressReader
from nacelle_operator.queue import Key, KeyQueue
from nacelle_operator.reconcile import Planner, Reconciler
from nacelle_operator.settings import Settings
from nacelle_operator.unwatched_reader import UnwatchedReader
from nacelle_operator.watch import Watch

LEASE_NAME = "nacelle-operator"
# Who has not taken a free lease by then stands by.
STANDBY_AFTER = 3.0
FIRST_LOOK_SECONDS = 15.0
_FIRST_READ_SECONDS = 5.0
_log = logging.getLogger(__name__)


class OperatorProcess:
    """One operator: the standby keeps its cache warm, the leader reconciles."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._cluster = connect(
            lambda: self._leader.holds(),
            lambda call: self._metrics.requests.labels(*call).inc(),
        )
        self._leader = Leader(
            self._cluster,
            LeaseName(settings.own_namespace, LEASE_NAME, settings.identity),
            on_lost=_end_now,
            may_take=lambda: self._feed.synced,
        )
        self._leads = asyncio.Event()
        self._cache = ObjectCache(indexers(settings.toolchain))
        queue = KeyQueue(clock=time.monotonic, random=random.random)
        self._reconciler = Reconciler(
            queue,
            self._cache,
            self._cluster,
            planners(
                settings, self._cache, self._cluster, wake=lambda key: self._reconciler.wake(key)
            ),
            metrics=self._metrics,
            identity=settings.identity,
        )
        self._feed = Feed(
            self._cache,
            self._cluster,
            self._reconciler.wake,
            namespaces=settings.namespaces,
            metrics=self._metrics,
        )

    async def run(self) -> int:
        """Work until SIGTERM or SIGINT; gives the exit code."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        def take_in(kind: Kind, event: str | None, manifest: Mapping[str, Any]) -> None:
            loop.call_soon_threadsafe(self._feed.take_in, kind, event, manifest)

        watch = Watch(self._settings.namespaces, CHILD_SELECTOR, take_in)
        health = HealthServer(
            self._settings.port,
            alive=lambda: not watch.has_ended(),
            ready=lambda: self._feed.synced,
            registry=self._metrics.registry,
        )
        health.start()
        work = asyncio.create_task(self._work(watch))
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            return 0
        finally:
            stopped.cancel()
            work.cancel()
            await asyncio.gather(work, stopped, return_exceptions=True)
            watch.close()
            health.close()

    async def _work(self, watch: Watch) -> None:
        stop_leading = threading.Event()
        election = threading.Thread(
            target=self._leader.run, args=(stop_leading,), name="lease", daemon=True
        )
        election.start()
        try:
            # Before the first list: whether another leads, who may write meanwhile.
            await asyncio.to_thread(self._leader.looked.wait, _FIRST_READ_SECONDS)
            await self._feed.sync()
            _log.info("the cache is synced")
            # A defect in either ends both, and the process with them.
            async with asyncio.TaskGroup() as group:
                group.create_task(self._lead())
                group.create_task(self._watch(watch))
        finally:
            # Not in the pool's threads: all of them may wait for answers.
            self._cluster.end_writes()
            stop_leading.set()
            election.join(5.0)

    async def _watch(self, watch: Watch) -> None:
        await begin_to_watch(watch, self._leader.is_alone, self._leads, self._reconciler.rested)
        await self._feed.resync()

    async def _lead(self) -> None:
        while not self._leader.acquired.is_set():
            await asyncio.sleep(0.1)
        self._leads.set()
        self._metrics.leader.set(1)
        await self._reconciler.run()


async def begin_to_watch(
    watch: Watch, is_alone: Callable[[], bool], leads: asyncio.Event, rested: asyncio.Event
) -> None:
    """At once where another leads or has led; the only one after a look at all that it has listed.

    A watch begins with all objects anew, which takes as long as to look at them: each would slow
    the other down. What users have changed since is among them, what is gone `Feed.resync` finds;
    but on what another operator has written since, nothing may be decided.
    """
    with contextlib.suppress(TimeoutError):
        if is_alone():
            async with asyncio.timeout(STANDBY_AFTER):
                await leads.wait()
        if is_alone():
            async with asyncio.timeout(FIRST_LOOK_SECONDS):
                await rested.wait()
    watch.start()


def planners(
    settings: Settings, cache: ObjectCache, cluster: Cluster, wake: Callable[[Key], None]
) -> dict[str, Planner]:
    """Who decides for which kind of resource."""
    look = LiveLook(cache, cluster, wake)
    progress = ProgressReader(cluster, time.monotonic)
    claims = ClaimReader(cluster, time.monotonic)
    readers = Readers(
        NameReader(cluster),
        UnwatchedReader(cluster),
        MetricsReader(pool_of_pods(), time.monotonic),
    )
    return {
        ENGINE_BUILD.name: BuildPlanner(
            cache, look, progress, claims, settings.toolchain, settings.gpu_labels
        ),
        ENGINE.name: EnginePlanner(cache, look, settings.toolchain, settings.collection),
        INFERENCE_DEPLOYMENT.name: DeploymentPlanner(
            cache,
            readers,
            settings.runtime_images,
            settings.triton_images,
            settings.activator_image,
            settings.gpu_labels,
        ),
    }


def leave(code: int) -> NoReturn:
    """End the process without waiting for its threads: a list may be under way for a minute yet."""
    logging.shutdown()
    os._exit(code)


def _end_now() -> None:
    """End without a clean-up: whatever is under way may no longer be written."""
    _log.critical("leadership is lost: this process ends")
    leave(1)
