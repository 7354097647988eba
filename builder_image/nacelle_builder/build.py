"""One build: what is asked for, and what its stages have established so far."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nacelle_builder.settings import HubAccess
from nacelle_engine.abi import abi_of
from nacelle_engine.canonical import digest
from nacelle_engine.frozen import Frozen
from nacelle_engine.machine import Machine, this_machine
from nacelle_engine.request import BuildRequest
from nacelle_engine.result import Accuracy, Published

RANK0: Final = "rank0"
CALIBRATION: Final = "calibration"
CHECKPOINT: Final = "checkpoint"
BUNDLE: Final = "bundle"


@dataclass(frozen=True)
class Build:
    """A request, where and on what machine it is built, and how the hub is reached."""

    request: BuildRequest
    work: Path
    access: HubAccess
    keep_checkpoint: Path | None = None
    until: str = ""
    """The stage to end after, which the target's machine is not needed for; empty: build it all."""
    machine: Machine = field(default_factory=this_machine)

    @property
    def store(self) -> Path:
        """The store's root: engines/, work/, libraries/."""
        return Path(self.request.store)

    def engine(self, key: str) -> Path:
        """Where the engine of that key lies once it is published."""
        return self.store / "engines" / key

    @property
    def libraries(self) -> Path:
        """Where libraries and objects are kept that many engines share, once they are compiled."""
        return self.store / "libraries"

    @property
    def cached_digests(self) -> Path:
        """The digests of models' files that the store's builds have taken."""
        return self.store / "work" / "digests.json"

    @property
    def is_at_target(self) -> bool:
        """Whether this machine is one of the target's: only there is a GPU engine's key known."""
        return not self.until or self.request.recipe.architecture.is_cpu

    @property
    def sm_count(self) -> int:
        """Multiprocessors of the GPU that a GPU engine is built on; 0 for a CPU engine."""
        if self.request.recipe.architecture.is_cpu or self.machine.gpu is None:
            return 0
        return self.machine.gpu.sm_count

    @property
    def source(self) -> dict[str, str]:
        """What the request names as the model's origin."""
        request = self.request
        if request.hugging_face is not None:
            return {
                "repo": request.hugging_face.repo,
                "revision": request.hugging_face.revision,
            }
        assert request.folder is not None
        return {"path": request.folder.path}


class Facts(Frozen):
    """What the finished stages found; each stage adds its own and a retry reads them back."""

    model_folder: str = ""
    model_digest: str = ""
    calibration_digest: str = ""
    engine_key: str = ""
    accuracy: Accuracy | None = None
    published: Published | None = None
    stage_seconds: dict[str, int] = {}
    peak_mib: int = 0
    """The most memory that the build's processes held together."""

    def plain(self, *without: str) -> dict[str, Any]:
        """The facts as JSON values, without time and memory, which no stage depends on."""
        return self.model_dump(mode="json", exclude={"stage_seconds", "peak_mib", *without})


def work_folder(request: BuildRequest) -> Path:
    """The folder that every attempt at the same request shares."""
    key = request.request_key or digest(
        {
            "source": request.model_dump(mode="json", include={"hugging_face", "folder"}),
            "recipe": request.recipe.model_dump(mode="json"),
            "abi": abi_of(request.recipe.backend),
        }
    )
    return Path(request.store) / "work" / key
