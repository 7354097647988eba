"""All that one target of a build is judged on."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nacelle_engine.recipe import Toolchain
from nacelle_operator.api.engine_build import EngineBuild
from nacelle_operator.api.engine_build_status import TargetStatus
from nacelle_operator.build.observed import Manifest, Observed
from nacelle_operator.build.request import TargetRequest
from nacelle_operator.kinds import JOB
from nacelle_operator.objects import names
from nacelle_operator.objects.quantity import to_bytes
from nacelle_operator.plan import Deletion


@dataclass(frozen=True)
class TargetInput:
    """A target's request, and the namespace as it was seen."""

    build: EngineBuild
    request: TargetRequest
    toolchain: Toolchain
    observed: Observed
    now: datetime

    @property
    def previous(self) -> TargetStatus | None:
        """The target's status so far, if it is about this very request."""
        for status in self.build.status.targets:
            if status.name == self.request.target.name and status.request_key == self.request.key:
                return status
        return None

    @property
    def attempts(self) -> int:
        """The pods that were counted so far."""
        return self.previous.attempts if self.previous else 0

    def memory(self, job: str) -> int:
        """The bytes that attempts of that Job are to be given since one ran out; 0: none did."""
        known = self.previous.memory if self.previous else {}
        return to_bytes(known.get(job, 0))

    def creator(self, job: Manifest) -> str:
        """The name of the build that made a Job."""
        return str(job["metadata"]["labels"].get(names.BUILD, ""))

    def is_mine(self, job: Manifest) -> bool:
        """Whether this build made a Job, or the one that did is gone: the first to see it acts."""
        creator = self.creator(job)
        return creator == self.build.metadata.name or creator not in self.observed.builds

    def deletion(self, job: Manifest) -> Deletion:
        """The end of this very Job."""
        meta: dict[str, Any] = job["metadata"]
        return Deletion(JOB.api_version, JOB.name, meta["name"], meta["uid"])
