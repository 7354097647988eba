"""A chart of lines as one SVG file: log2 or linear across, linear upwards, light and dark."""

import math
from dataclasses import dataclass
from html import escape
from typing import Final

Point = tuple[float, float]

_WIDTH, _PLOT_HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 28, 66, 58
_LEGEND_ROW = 20
_NOTE_ROW = 16
_NOTE_LETTERS = 108
# Told apart on white and on black; the marker's shape tells them apart without colour.
_COLOURS: Final = ("#1f77d0", "#d9730d", "#1a9a62", "#b04ac6", "#c23b4b", "#7a8699")
_MARKERS: Final = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-4-4h8v8h-8z",
    "M0-5l5 9h-10z",
    "M0-5l5 5l-5 5l-5-5z",
)
_STYLE: Final = (
    "svg{background:#fff;color:#1b2330;font:13px system-ui,sans-serif}"
    ".grid{stroke:#dde2ec}.soft{fill:#56617a}text{fill:currentColor}"
    "@media(prefers-color-scheme:dark){svg{background:#131822;color:#e6eaf2}"
    ".grid{stroke:#323b4d}.soft{fill:#a0abc0}}"
)


@dataclass(frozen=True)
class Series:
    """A named line; `dashed` for what is not measured here: floors, ceilings."""

    name: str
    points: tuple[Point, ...]
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """Lines over one pair of axes; `note` says where the figures come from.

    linear: across from 0 on, instead of by powers of two.
    """

    title: str
    across: str
    upwards: str
    series: tuple[Series, ...]
    note: str = ""
    linear: bool = False


@dataclass(frozen=True)
class _Scale:
    """Where a point lies in the picture; low and high are log2 of the ends unless it is linear."""

    low: float
    high: float
    top: float
    linear: bool = False

    def x(self, value: float) -> float:
        place = value if self.linear else math.log2(value)
        share = (place - self.low) / (self.high - self.low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _TOP + (1 - value / self.top) * (_PLOT_HEIGHT - _TOP - _BOTTOM)


def draw(chart: Chart) -> str:
    """The chart as an SVG document; ValueError without a point, or with one that has no place."""
    points = [point for series in chart.series for point in series.points]
    if not points:
        raise ValueError(f"chart {chart.title!r} has no points")
    # A logarithm has no place for 0.
    if any(not ((x > 0 or (chart.linear and x == 0)) and 0 <= y < math.inf) for x, y in points):
        raise ValueError(f"chart {chart.title!r} has a point that is not above 0")
    scale = _scale(points, linear=chart.linear)
    note = _wrapped(chart.note)
    height = _PLOT_HEIGHT + _LEGEND_ROW * len(chart.series) + _NOTE_ROW * len(note) + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-labelledby="title note">',
        f'<title id="title">{escape(chart.title)}</title>',
        f'<desc id="note">{escape(chart.note)}</desc><style>{_STYLE}</style>',
        f'<text x="16" y="26" font-size="16" font-weight="600">{escape(chart.title)}</text>',
        *_axes(chart, scale, points),
        *(_line(series, scale, n, chart) for n, series in enumerate(chart.series)),
        *(_legend(series, n) for n, series in enumerate(chart.series)),
        *_note(note, _PLOT_HEIGHT + _LEGEND_ROW * len(chart.series) + 8),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def round_steps(largest: float) -> tuple[float, ...]:
    """0 and up to seven round numbers beyond it, the last at least `largest`."""
    wanted = max(largest, 1e-9) / 5
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(power * n for n in (1, 2, 2.5, 5, 10) if power * n >= wanted * (1 - 1e-9))
    return tuple(step * n for n in range(math.ceil(largest / step - 1e-9) + 1))


def powers_of_two(low: float, high: float) -> tuple[int, ...]:
    """Powers of two from `low` to `high`, every second one where they would be more than 11."""
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    exponents = range(first, last + 1, 1 if last - first <= 10 else 2)
    return tuple(2**exponent for exponent in exponents if exponent >= 0)


def _scale(points: list[Point], *, linear: bool) -> _Scale:
    top = max(round_steps(max(y for _, y in points))[-1], 1e-9)
    if linear:
        return _Scale(0, round_steps(max(x for x, _ in points))[-1], top, linear=True)
    low, high = (math.log2(end) for end in (min(x for x, _ in points), max(x for x, _ in points)))
    if low == high:
        low, high = low - 1, high + 1
    return _Scale(low, high, top)


def _axes(chart: Chart, scale: _Scale, points: list[Point]) -> list[str]:
    right, bottom = _WIDTH - _RIGHT, _PLOT_HEIGHT - _BOTTOM
    parts = []
    for value in round_steps(max(y for _, y in points)):
        y = scale.y(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(
            f'<text class="soft" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
            f"{value:,g}</text>"
        )
    least, most = min(x for x, _ in points), max(x for x, _ in points)
    for tick in round_steps(most) if chart.linear else powers_of_two(least, most):
        parts.append(
            f'<text class="soft" x="{scale.x(tick):.1f}" y="{bottom + 20}" '
            f'text-anchor="middle">{tick:,g}</text>'
        )
    parts.append(f'<text class="soft" x="16" y="46">{escape(chart.upwards)}</text>')
    parts.append(
        f'<text class="soft" x="{right}" y="{bottom + 38}" text-anchor="end">'
        f"{escape(chart.across)}</text>"
    )
    return parts


def _line(series: Series, scale: _Scale, number: int, chart: Chart) -> str:
    colour = _colour(number)
    places = [(scale.x(x), scale.y(y), x, y) for x, y in sorted(series.points)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, *_ in places)
    dashes = ' stroke-dasharray="5 4"' if series.dashed else ""
    drawn = f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
    if series.dashed:
        return drawn
    return drawn + "".join(
        f'<path transform="translate({x:.1f} {y:.1f})" d="{_marker(number)}" fill="{colour}">'
        f"<title>{escape(f'{series.name}: {at:,g} {chart.across}, {value:,g} {chart.upwards}')}"
        "</title></path>"
        for x, y, at, value in places
    )


def _legend(series: Series, number: int) -> str:
    y = _PLOT_HEIGHT + _LEGEND_ROW * number
    dashes = ' stroke-dasharray="5 4"' if series.dashed else ""
    marker = (
        ""
        if series.dashed
        else f'<path transform="translate(34 {y})" d="{_marker(number)}" fill="{_colour(number)}"/>'
    )
    return (
        f'<path d="M16 {y}h36" stroke="{_colour(number)}" stroke-width="2"{dashes}/>{marker}'
        f'<text x="60" y="{y + 4}">{escape(series.name)}</text>'
    )


def _note(lines: list[str], top: int) -> list[str]:
    return [
        f'<text class="soft" x="16" y="{top + _NOTE_ROW * n}" font-size="12">{escape(line)}</text>'
        for n, line in enumerate(lines)
    ]


def _wrapped(note: str) -> list[str]:
    lines = [""]
    for word in note.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _NOTE_LETTERS:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines if note else []


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _marker(number: int) -> str:
    return _MARKERS[number % len(_MARKERS)]
