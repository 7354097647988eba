"""The page's parts about the program: kernels and their times, launches, weights, memory."""

from typing import Final

from nacelle_cli.page.facts import Facts
from nacelle_cli.page.figures import count, microseconds, size, span
from nacelle_cli.page.html import Html, bar, code, facts, join, lines, paragraph, section, table
from nacelle_cli.page.steps import StepFacts
from nacelle_cli.page.tactics import Choice, Time
from nacelle_engine.program.memory import Part
from nacelle_engine.program.signature import LayerSpec, ProgramSpec

_TACTICS: Final = ("tokens", "chosen", "took", "next best", "took ", "ratio")


def tactics(found: Facts) -> Html:
    """Each place's kernels by range, with bars of the times."""
    told = paragraph(f"Why: {found.tactics.reason}.")
    offered = found.tactics.attention
    attention = paragraph(f"Attention over prompts: {offered}.") if offered else ""
    places: dict[str, list[Choice]] = {}
    for choice in found.tactics.choices:
        places.setdefault(choice.place, []).append(choice)
    return section("Chosen kernels", told, attention, *(_place(*place) for place in places.items()))


def _place(name: str, choices: list[Choice]) -> Html:
    if not any(choice.times for choice in choices):
        untimed = [(span(c.first, c.last), code(c.chosen)) for c in choices]
        return table(name, ("tokens", "chosen"), untimed)
    return table(name, _TACTICS, [_timed(choice) for choice in choices], "choices")


def _timed(choice: Choice) -> tuple[object, ...]:
    best, other = choice.time, choice.runner_up
    largest = max(time.microseconds for time in (best, other, Time("", 0.0)) if time)
    ratio = f"{other.microseconds / best.microseconds:.2f}" if best and other else ""
    return (
        span(choice.first, choice.last),
        code(choice.chosen),
        _time(best, largest, "chosen"),
        code(other.name) if other else "no other ran",
        _time(other, largest, "other"),
        ratio,
    )


def _time(time: Time | None, largest: float, kind: str) -> Html:
    if time is None:
        return Html("")
    return join([microseconds(time.microseconds), bar(time.microseconds, largest, kind)])


def launches(found: Facts) -> Html:
    """What a step consists of."""
    if not found.steps:
        return _libraries(found)
    most = max(one.step for one in found.steps)
    rows = [_step(one, most) for one in found.steps]
    columns = ("tokens", "step", "numerics", "a layer", "a step", "", "one layer's launches")
    return section("Launches", table("Launches by size of step", columns, rows, "steps"))


def _libraries(found: Facts) -> Html:
    signature = found.signature
    programs = (signature.embed, *signature.kinds, signature.head)
    rows = [(program.name, code(program.file)) for program in programs]
    told = paragraph("A step calls embed, the library of each layer's kind, and head.")
    return section("Program", told, table("Libraries", ("program", "library"), rows))


def _step(one: StepFacts, most: int) -> tuple[object, ...]:
    several = len(one.layer) > 1
    counts = ", ".join(f"{n} ({kind})" if several else str(n) for kind, n in one.layer.items())
    listed = [
        join([f"{kind}:" if several else "", lines([code(name) for name in made])])
        for kind, made in one.launches.items()
    ]
    return (
        span(one.first, one.last),
        _steps(one),
        one.numerics,
        counts,
        count(one.step),
        bar(one.step, most),
        join(listed),
    )


def _steps(one: StepFacts) -> str:
    if one.decode:
        return "one token a request"
    least = one.tokens_a_request
    return f"at least {least} tokens a request in the mean" if least > 1 else "any"


def weights(found: Facts) -> Html:
    """Bytes of weights that a step reads, and the time that takes at the least."""
    signature = found.signature
    kinds = {kind.name: kind for kind in signature.kinds}
    numbers = {
        name: sum(1 for layer in signature.layers if layer.program == name) for name in kinds
    }
    rows = [(kind.name, numbers[kind.name], size(kind.weight_bytes)) for kind in signature.kinds]
    rows.append((signature.head.name, 1, size(signature.head.weight_bytes)))
    whole = signature.weight_bytes_per_step
    told = f"Every step reads {size(whole)} of weights."
    bandwidth = found.device.bandwidth_gb_s
    floor = (
        f" At {bandwidth:,.0f} GB/s that takes {whole / bandwidth / 1e6:.3f} ms at the least, "
        "whatever the kernels do."
        if bandwidth
        else " With --bandwidth-gb-s this page says how long that takes at the least."
    )
    columns = ("program", "times a step", "bytes of weights")
    return section(
        "Weights",
        paragraph(told + floor),
        table("Weights by program", columns, rows),
        _matrices(signature.kinds[0], signature.layers),
    )


def _matrices(kind: ProgramSpec, layers: tuple[LayerSpec, ...]) -> Html:
    largest = max(weight.nbytes for weight in kind.weights)
    rows = [
        (
            code(weight.name),
            " x ".join(count(n) for n in weight.shape),
            weight.dtype,
            size(weight.nbytes),
            bar(weight.nbytes, largest),
        )
        for weight in kind.weights
    ]
    number = next(n for n, layer in enumerate(layers) if layer.program == kind.name)
    columns = ("weight", "shape", "type", "bytes", "")
    return table(f"Weights of layer {number} ({kind.name})", columns, rows)


def memory(found: Facts) -> Html:
    """The plan of the device's memory."""
    plan, gigabytes = found.memory, found.device.memory_gb
    parts = sorted(plan.parts, key=lambda part: part.bytes, reverse=True)
    pairs: list[tuple[str, object]] = [
        ("there before any request", size(plan.bytes)),
        ("KV cache", f"{size(plan.kv_bytes_per_token)} a token"),
        ("a block", f"{plan.tokens_per_block} tokens"),
    ]
    if gigabytes:
        tokens = plan.tokens_that_fit(gigabytes * 1e9)
        longest = found.manifest.limits.max_seq_len
        pairs.append(
            (
                f"fit into {gigabytes:g} GB",
                f"{count(tokens)} tokens: {count(tokens // longest)} sequences of {count(longest)}",
            )
        )
    return section(
        "Memory",
        facts(pairs),
        _parts(parts),
        paragraph("Left out: what driver, libraries and captured graphs take for themselves."),
    )


def _parts(parts: list[Part]) -> Html:
    largest = max(part.bytes for part in parts)
    rows = [(part.name, size(part.bytes), bar(part.bytes, largest)) for part in parts]
    return table("What is there before any request", ("part", "bytes", ""), rows)
