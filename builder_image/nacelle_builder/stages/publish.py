"""publish: the sealed bundle at its place in the store, by one rename."""

from nacelle_builder.build import BUNDLE, Build, Facts
from nacelle_builder.published import read_published
from nacelle_builder.report import Report
from nacelle_engine.bundle import publish
from nacelle_engine.result import Published


def run(build: Build, facts: Facts, report: Report) -> Facts:
    """The engine in the store; another attempt having been first is a success too."""
    place = build.engine(facts.engine_key)
    first = publish(build.work / BUNDLE, place)
    bundle = read_published(place)
    published = Published(
        engine_key=facts.engine_key,
        path=str(place),
        digest=bundle.digest,
        bytes=bundle.bytes,
        abi=bundle.manifest.abi,
        already_existed=not first,
        accuracy=bundle.manifest.accuracy,
        stage_seconds=facts.stage_seconds,
    )
    return facts.model_copy(update={"published": published})
