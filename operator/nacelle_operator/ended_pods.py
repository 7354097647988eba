"""The pods of a Job that has finished, looked up where the watches have not told of their ends.

Each kind has a watch of its own: a Job's last event may come before its pods', and a watch that
begins tells of the Job and nothing of pods that it has not come to yet. The API server knows: a Job
is finished only after its pods have ended.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nacelle_operator.cache import ObjectCache
from nacelle_operator.kinds import POD
from nacelle_operator.objects import names

# The pods of a namespace that a label selector gives, live.
PodList = Callable[[str, str], Iterable[Mapping[str, Any]]]


class EndedPods:
    """Puts into the cache what it lacks of the pods of Jobs."""

    def __init__(self, cache: ObjectCache, pods: PodList) -> None:
        self._cache = cache
        self._pods = pods

    async def look(self, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Look for the pods of these Jobs; an OperatorError is the API server's."""
        for job in jobs:
            meta = job["metadata"]
            selector = f"{names.JOB_NAME}={meta['name']}"
            for pod in await asyncio.to_thread(self._pods, meta["namespace"], selector):
                self._cache.put(POD, pod)
