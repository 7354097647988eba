"""Which kernel serves each place of a GPU's program: timed on the GPU that builds."""

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nacelle_builder.compile.gpu.cubins import try_cubins
from nacelle_builder.compile.gpu.place import Chosen, Place, kernels_of, libraries_of
from nacelle_builder.compile.gpu.prompt_attention import Put, put_none
from nacelle_builder.report import Report
from nacelle_engine.errors import CompileFailed
from nacelle_engine.frozen import Frozen
from nacelle_engine.machine import first_gpu
from nacelle_engine.model.spec import ModelSpec
from nacelle_engine.program.signature import Signature
from nacelle_engine.recipe import Recipe


class Timing(Frozen):
    """Nanoseconds of each candidate at one place, for steps of `last` tokens (or rows)."""

    place: str
    first: int
    last: int
    chosen: str
    nanoseconds: dict[str, int] = {}


class Tactics(Frozen):
    """tactics.json: what was chosen and why; attention: of libraries for prompts, in one line."""

    reason: str
    attention: str = ""
    places: tuple[Timing, ...]


def choose(
    places: Sequence[Place],
    signature: Signature,
    spec: ModelSpec,
    recipe: Recipe,
    report: Report,
    put_libraries: Put = put_none,
) -> tuple[tuple[Chosen, ...], Tactics]:
    """The quickest candidate of each place; the first one where this machine cannot run them.

    Libraries, which take longest, are compiled beside the kernels, and timed last.
    """
    gpu = first_gpu()
    if gpu is None or gpu.compute_capability != recipe.architecture.compute_capability:
        reason = f"no {recipe.architecture} to time on: the safe candidate of every place"
        return decide(places, {}, reason)
    # Imported when there is a GPU: it loads the driver's bindings.
    from nacelle_builder.compile.gpu.timer import Timer

    candidates = [candidate for place in places for candidate in place.candidates]
    kernels, libraries = kernels_of(candidates), libraries_of(candidates)
    with (
        tempfile.TemporaryDirectory(prefix="nacelle-tactics-") as folder,
        ThreadPoolExecutor(1) as beside,
    ):
        compiled = beside.submit(put_libraries, libraries, Path(folder))
        report(0, f"compiling {len(kernels)} candidates for {recipe.architecture}")
        cubins = try_cubins(list(kernels.values()), recipe.architecture, Path(folder))
        timer = Timer(Path(folder), cubins.made, places, signature, spec, recipe)
        times: dict[int, dict[str, int]] = {}
        order = sorted(enumerate(places), key=lambda one: bool(libraries_of(one[1].candidates)))
        for number, place in order:
            percent = 50 + 30 * len(times) // len(places)
            if libraries_of(place.candidates) and not compiled.done():
                report(percent, f"compiling {', '.join(one.name for one in libraries)}")
                compiled.result()
            report(percent, f"timing {place.label} up to {place.last}")
            times[number] = timer.nanoseconds(place)
        compiled.result()
        timer.close()
    return decide(places, times, f"timed on {gpu}")


def decide(
    places: Sequence[Place], times: Mapping[int, Mapping[str, int]], reason: str
) -> tuple[tuple[Chosen, ...], Tactics]:
    """The quickest of each place by its times {kernel: ns}; the first candidate without times."""
    chosen, told = [], []
    for number, place in enumerate(places):
        taken = times.get(number)
        if taken is not None and not taken:
            raise CompileFailed(
                f"none of the {len(place.candidates)} kernels for {place.label} runs on this GPU"
            )
        best = min(taken, key=lambda name: taken[name]) if taken else None
        candidate = next(c for c in place.candidates if best in (None, c.kernel.name))
        chosen.append(Chosen(place, candidate))
        told.append(
            Timing(
                place=place.label,
                first=place.first,
                last=place.last,
                chosen=candidate.kernel.name,
                nanoseconds=dict(taken or {}),
            )
        )
    return tuple(chosen), Tactics(reason=reason, places=tuple(told))
