"""Builds one engine: the checks, the work folder, the stages; the CLI and the Job call this."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from nacelle_builder.build import Build
from nacelle_builder.memory_watch import MemoryWatch
from nacelle_builder.pipeline import Pipeline, Tell
from nacelle_builder.request_checks import check_recipe
from nacelle_builder.stages.convert import check_keep
from nacelle_builder.stages.list import stages_of
from nacelle_builder.work import hold, remove, sweep
from nacelle_engine.canonical import digest
from nacelle_engine.errors import GpuOutOfMemory, NacelleError, OutOfMemory, StoreUnavailable
from nacelle_engine.progress import Progress
from nacelle_engine.result import Prepared, Published

# What torch says, in plain RuntimeErrors, of the host's memory and of a GPU's.
_MEMORY_TEXTS = {"can't allocate memory": OutOfMemory, "CUDA out of memory": GpuOutOfMemory}
_STORE_ERRNOS = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
    # No folder; and a network file system whose server was away.
    errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT,
)  # fmt: skip


class BuildFailed(Exception):
    """A build's error (its cause) and the stage it came from."""

    def __init__(self, error: NacelleError, stage: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.stage = stage


def run_build(build: Build, tell: Tell) -> Published | Prepared:
    """The published engine, or what is prepared; BuildFailed holds the error and its stage."""
    watch = MemoryWatch()
    pipeline = Pipeline(stages_of(build), tell, peak_mib=watch.peak_mib)
    try:
        with watch, _surroundings(build):
            return _run(build, pipeline, tell)
    except NacelleError as error:
        raise BuildFailed(error, pipeline.stage) from error


def _run(build: Build, pipeline: Pipeline, tell: Tell) -> Published | Prepared:
    check_recipe(build.request.recipe, None if build.until else build.machine)
    check_keep(build)
    sweep(build.store)

    def waiting() -> None:
        tell(Progress(stage="source", percent=0, message="another attempt is at work: waiting"))

    with hold(build.work, waiting):
        basis = digest([build.work.name, version("nacelle")])
        facts = pipeline.run(build, basis)
        if facts.published is not None:
            remove(build.work)
            return facts.published
    assert build.until, "the last stage publishes"
    return Prepared(until=build.until, stage_seconds=facts.stage_seconds)


@contextmanager
def _surroundings(build: Build) -> Iterator[None]:
    """Say memory and disk trouble in our own errors."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(f"the build ran out of memory: {error}") from error
    except RuntimeError as error:
        kind = next((kind for text, kind in _MEMORY_TEXTS.items() if text in str(error)), None)
        if kind is None:
            raise
        raise kind(f"the build ran out of memory: {error}") from error
    except OSError as error:
        if error.errno == errno.ENOMEM:  # for a child, or a file's pages
            raise OutOfMemory(f"the build ran out of memory: {error}") from error
        if error.errno not in _STORE_ERRNOS:
            raise
        raise StoreUnavailable(_store_message(build, error)) from error


def _store_message(build: Build, error: OSError) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        # An error of a write or a read names no file.
        where = f"{error.filename}: " if error.filename else ""
        return f"the store {build.store} cannot be used: {where}{error.strerror}"
    need, free = space_needed(build), _free_bytes(build.store)
    return (
        f"the store {build.store} is full: {free / 1e9:.1f} GB are free, "
        f"this build needs about {need / 1e9:.1f} GB"
    )


def space_needed(build: Build) -> int:
    """Bytes a build takes at most: the checkpoint (links make the bundle free), a hub's copy."""
    folder = build.work / "model"
    if build.request.folder is not None:
        folder = Path(build.request.folder.path)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors") if path.exists())
    copies = 1 if build.request.folder is not None else 2
    return copies * weights + 100_000_000


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
