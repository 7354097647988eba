"""Pieces of HTML; text that is handed to them is escaped, `Html` is taken as it is."""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: object) -> Html:
    """A value as HTML text."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def join(parts: Iterable[object]) -> Html:
    """Parts one after the other."""
    return Html("".join(text(part) for part in parts))


def code(value: object) -> Html:
    """A name or digest in a type of equal widths, broken after underscores first."""
    return Html(f"<code>{text(value).replace('_', '_<wbr>')}</code>")


def lines(parts: Iterable[object]) -> Html:
    """A list, a line each, in an order that matters."""
    return Html(f"<ol>{''.join(f'<li>{text(part)}</li>' for part in parts)}</ol>")


def paragraph(*parts: object) -> Html:
    """A paragraph."""
    return Html(f"<p>{join(parts)}</p>")


def section(title: str, *parts: object) -> Html:
    """A part of the page under its own heading, which names it for a screen reader."""
    name = "s-" + "".join(c if c.isalnum() else "-" for c in title.lower())
    heading = f'<h2 id="{escape(name)}">{text(title)}</h2>'
    return Html(f'<section aria-labelledby="{escape(name)}">{heading}{join(parts)}</section>')


def facts(pairs: Iterable[tuple[str, object]]) -> Html:
    """Names and values in two columns."""
    rows = (f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs)
    return Html(f"<dl>{''.join(rows)}</dl>")


def table(
    caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]], kind: str = "plain"
) -> Html:
    """A table whose rows become cards where the page is narrow; `kind` is its class.

    The roles are those of the elements: as cards they would lose them otherwise.
    """
    head = "".join(f'<th scope="col" role="columnheader">{text(name)}</th>' for name in columns)
    body = "".join(_row(columns, row) for row in rows)
    return Html(
        f'<table role="table" class="{escape(kind)}"><caption>{text(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>'
        f'<tbody role="rowgroup">{body}</tbody></table>'
    )


def _row(columns: Sequence[str], row: Sequence[object]) -> str:
    cells = "".join(
        f'<td role="cell" data-label="{escape(name)}">{text(value)}</td>'
        for name, value in zip(columns, row, strict=True)
    )
    return f'<tr role="row">{cells}</tr>'


def bar(value: float, largest: float, kind: str = "chosen") -> Html:
    """A bar of value / largest of its column's width; the figure stands beside it as text."""
    share = 100 * value / largest if largest > 0 else 0.0
    return Html(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="{escape(kind)}" width="{min(max(share, 0.5), 100):.1f}" height="8"/></svg>'
    )
