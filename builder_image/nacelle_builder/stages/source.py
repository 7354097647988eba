"""source: has the checkpoint at hand, knows its digest, and with it the engine's key."""

from pathlib import Path

from nacelle_builder.build import Build, Facts
from nacelle_builder.calibrate.texts import calibration_digest
from nacelle_builder.fetch.fetch import fetch
from nacelle_builder.gate.quality import judge
from nacelle_builder.published import read_published
from nacelle_builder.report import Report
from nacelle_builder.source.digest import DigestCache, check_digest, model_digest
from nacelle_builder.source.files import find_checkpoint
from nacelle_engine.bundle import read_bundle
from nacelle_engine.errors import NacelleError
from nacelle_engine.recipe import engine_key
from nacelle_engine.result import Published


def run(build: Build, facts: Facts, report: Report) -> Facts:
    """The model's folder, digest and engine key; the engine itself where it exists already."""
    folder = _folder(build, report)
    report(50, "hashing the checkpoint")
    cache = DigestCache(build.cached_digests)
    digest = model_digest(find_checkpoint(folder), cache)
    if build.request.folder is not None:
        check_digest(digest, build.request.folder.digest, folder)
    recipe = build.request.recipe
    calibration = calibration_digest(recipe.quantization, folder)
    found = facts.model_copy(
        update={
            "model_folder": str(folder),
            "model_digest": digest,
            "calibration_digest": calibration,
        }
    )
    if not build.is_at_target:
        return found.model_copy(update={"published": _existing_anywhere(build, found)})
    key = engine_key(digest, recipe, calibration_digest=calibration, sm_count=build.sm_count)
    published = None if build.keep_checkpoint else existing(build, key)
    return found.model_copy(update={"engine_key": key, "published": published})


def existing(build: Build, key: str) -> Published | None:
    """The engine of that key where the store has it; its stored figures must meet the bounds."""
    path = build.engine(key)
    if not path.is_dir():
        return None
    bundle = read_published(path)
    accuracy = bundle.manifest.accuracy
    if accuracy is not None:
        judge(accuracy, build.request.accuracy)
    return Published(
        engine_key=key,
        path=str(path),
        digest=bundle.digest,
        bytes=bundle.bytes,
        abi=bundle.manifest.abi,
        already_existed=True,
        accuracy=accuracy,
    )


def _existing_anywhere(build: Build, facts: Facts) -> Published | None:
    """The store's engine of this very content for a GPU of the target, however many
    multiprocessors that one has."""
    for path in sorted((build.store / "engines").glob("*")):
        try:
            manifest = read_bundle(path).manifest
        except NacelleError:  # another's, and no bundle: nothing that this build could publish
            continue
        key = engine_key(
            facts.model_digest,
            build.request.recipe,
            calibration_digest=facts.calibration_digest,
            sm_count=manifest.target.sm_count,
        )
        if key == manifest.key == path.name:
            return existing(build, key)
    return None


def _folder(build: Build, report: Report) -> Path:
    request = build.request
    if request.folder is not None:
        return Path(request.folder.path)
    assert request.hugging_face is not None
    reference = f"hf:{request.hugging_face.repo}@{request.hugging_face.revision}"
    report(0, f"fetching {reference}")
    fetch(reference, build.work / "model", build.access)
    return build.work / "model"
