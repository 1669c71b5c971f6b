"""Plots: the same bytes for the same data, no state left behind, nothing a page could trip over."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest

from lacy.evaluate import CalibrationBin
from lacy.report.curves import Curve, calibration_plot, line_plot, quality_cost_plot
from lacy.results import Score

HOSTILE = "</svg><script>alert(1)</script> & $x^2$ \"' \x00 東京"


def score(value):
    return Score(value, max(0.0, value - 0.1), min(1.0, value + 0.1), 10)


def draw(name, label="LaCy"):
    points = [(score(0.2), score(0.9)), (score(0.0), score(0.3))]
    if name == "quality-cost":
        return quality_cost_plot({label: points, "plain": points[:1]})
    if name == "calibration":
        bins = [CalibrationBin(0.0, 0.5, 0.2, 0.1, 90), CalibrationBin(0.5, 1.0, 0.8, 0.9, 10)]
        return calibration_plot({label: bins})
    return line_plot([Curve(label, [0, 1], [3.0, 2.0])], x_label=label, y_label="loss")


@pytest.mark.parametrize("name", ["quality-cost", "calibration", "lines"])
def test_same_data_same_bytes_and_no_state(name):
    before = dict(matplotlib.rcParams)
    assert draw(name) == draw(name)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("name", ["quality-cost", "calibration", "lines"])
def test_a_figure_can_be_part_of_any_page(name):
    svg = draw(name, HOSTILE)
    root = ElementTree.fromstring(svg)  # well-formed
    tags = {element.tag.rsplit("}")[-1] for element in root.iter()}
    assert not tags & {"script", "style", "image", "metadata"}
    assert "$x^2$" in "".join(root.itertext())  # text, not mathematics
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert ids and all(i.startswith(f"{name}-") for i in ids)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]*)", svg))
    assert used <= set(ids)
    assert "var(--series-1, " in svg
    assert not re.search(r"https?://(?!www\.w3\.org/)", svg)


def points_of(svg, colour):
    return re.findall(rf"<use [^>]*var\(--{colour},[^>]*", svg)


def test_points_are_drawn_where_they_belong():
    """Twice the quality stands twice as high over zero: read back from the drawing."""
    series = {"a": [(score(x), score(q)) for x, q in ((0.0, 0.0), (0.2, 0.4), (0.4, 0.8))]}
    marks = [
        (float(re.search(r'x="([\d.]+)"', use)[1]), float(re.search(r'y="([\d.]+)"', use)[1]))
        for use in points_of(quality_cost_plot(series), "series-1")
    ]
    (x0, y0), (x1, y1), (x2, y2) = marks[:3]
    assert x2 - x0 == pytest.approx(2 * (x1 - x0), rel=1e-3)
    assert y0 - y2 == pytest.approx(2 * (y0 - y1), rel=1e-3)
    assert y0 > y1 > y2  # up is more


def test_undefined_figures_are_left_out():
    nothing = Score(math.nan, math.nan, math.nan, 0)
    ElementTree.fromstring(quality_cost_plot({"a": [(nothing, nothing)], "b": []}))
    ElementTree.fromstring(calibration_plot({}))
    ElementTree.fromstring(line_plot([], x_label="step", y_label="loss", log_y=True))
