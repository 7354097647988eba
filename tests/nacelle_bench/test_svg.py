"""Charts as SVG: whole documents, places that follow from the figures, text that stays text."""

import xml.etree.ElementTree as ElementTree

import pytest

from nacelle_bench.svg import Chart, Series, draw, powers_of_two, round_steps

SVG = "{http://www.w3.org/2000/svg}"


def chart(*series, note=""):
    return Chart("A <title>", "requests", "ms", series, note)


def lines(text):
    """The d of every line drawn, and whether it is dashed."""
    root = ElementTree.fromstring(text)
    return [
        (one.get("d"), one.get("stroke-dasharray") is not None)
        for one in root.iter(f"{SVG}path")
        if one.get("fill") == "none"
    ]


def test_a_chart_is_one_document_whose_text_is_escaped():
    root = ElementTree.fromstring(draw(chart(Series("<a> & b", ((1, 2.0),)), note="x < y")))
    words = [element.text for element in root.iter(f"{SVG}text")]
    assert "A <title>" in words and "<a> & b" in words and "x < y" in words
    assert root.find(f"{SVG}title").text == "A <title>"


def test_points_lie_where_their_figures_say():
    (line, dashed) = lines(draw(chart(Series("a", ((1, 0.0), (4, 5.0), (16, 10.0))))))[0]
    (x0, y0), (x1, y1), (x2, y2) = (map(float, p.split()) for p in line[1:].split("L"))
    assert not dashed
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11) and y2 < y1 < y0


def test_even_steps_across_begin_at_nothing():
    series = Series("a", ((0, 0.0), (5, 5.0), (10, 10.0)))
    (line, _) = lines(draw(Chart("A", "%", "s", (series,), linear=True)))[0]
    (x0, y0), (x1, y1), (x2, y2) = (map(float, p.split()) for p in line[1:].split("L"))
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11) and x0 < x1
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11) and y2 < y1


def test_points_are_joined_from_left_to_right():
    assert (
        lines(draw(chart(Series("a", ((8, 1.0), (1, 3.0))))))[0]
        == lines(draw(chart(Series("a", ((1, 3.0), (8, 1.0))))))[0]
    )


def test_a_dashed_series_has_no_markers():
    drawn = draw(chart(Series("a", ((1, 1.0), (2, 1.0))), Series("floor", ((1, 1.0),), True)))
    assert [dashed for _, dashed in lines(drawn)] == [False, True]
    titles = [element.text for element in ElementTree.fromstring(drawn).iter(f"{SVG}title")]
    assert titles == ["A <title>", "a: 1 requests, 1 ms", "a: 2 requests, 1 ms"]


@pytest.mark.parametrize(
    "series",
    [(), (Series("a", ()),), (Series("a", ((0, 1.0),)),), (Series("a", ((1, float("nan")),)),)],
)
def test_what_has_no_place_is_refused(series):
    with pytest.raises(ValueError, match="point"):
        draw(chart(*series))


@pytest.mark.parametrize(
    ("largest", "steps"),
    [
        (6, (0, 2, 4, 6)),
        (4472, (0, 1000, 2000, 3000, 4000, 5000)),
        (0.3, (0, 0.1, 0.2, 0.3)),
        (7.3, (0, 2, 4, 6, 8)),
    ],
)
def test_steps_are_round_and_reach_the_largest(largest, steps):
    assert round_steps(largest) == pytest.approx(steps)


def test_ticks_across():
    assert powers_of_two(1, 128) == (1, 2, 4, 8, 16, 32, 64, 128)
    assert powers_of_two(3, 9) == (4, 8)
    assert powers_of_two(1, 8192) == (1, 4, 16, 64, 256, 1024, 4096)
