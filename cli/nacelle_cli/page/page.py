"""A bundle's facts as one HTML page that needs nothing else."""

from importlib.resources import files

from nacelle_cli.page import program_sections, sections
from nacelle_cli.page.facts import Facts
from nacelle_cli.page.html import Html, join, text


def page(found: Facts) -> str:
    """The whole page: inline style, inline drawings, no script, no outside resource."""
    name = found.manifest.provenance.model_name
    title = f"{name} for {found.manifest.target.architecture}"
    style = files("nacelle_cli.page").joinpath("page.css").read_text()
    body = join(
        [
            sections.built(found),
            sections.target(found),
            sections.accuracy(found),
            sections.numerics(found),
            program_sections.weights(found),
            program_sections.memory(found),
            program_sections.launches(found),
            program_sections.tactics(found),
            sections.stages(found),
            sections.files(found),
        ]
    )
    return _document(title, style, body)


def _document(title: str, style: str, body: Html) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<header><p>Engine report</p><h1>{text(title)}</h1></header>\n"
        f"<main>{body}</main>\n</body>\n</html>\n"
    )
