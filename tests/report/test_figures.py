"""Figures of a study: well-formed, labelled, the right lines in the right places."""

from __future__ import annotations

import json
import re
import sys
import xml.etree.ElementTree as ElementTree

import matplotlib
import pandas as pd
import pytest

from helpers.studies import METHODS, write_rates, write_study, write_sweep
from lacy.errors import LacyError
from lacy.report import figures
from lacy.report.study_files import parse_condition, read_study
from lacy.report.svg import SERIES_COLOURS, inline

SVG = "{http://www.w3.org/2000/svg}"
DRAW = {
    "frontier": figures.frontier,
    "calibration": figures.calibration,
    "turnover": figures.turnover,
    "methods": figures.methods,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"))


def texts_of(file):
    root = ElementTree.parse(file).getroot()
    return ["".join(element.itertext()).strip() for element in root.iter(f"{SVG}text")]


def lines_in(file, colour):
    """Curves of a colour: paths of several points, not markers, bars or the legend's samples."""
    found = []
    for path in ElementTree.parse(file).getroot().iter(f"{SVG}path"):
        style, d = path.get("style", ""), path.get("d", "")
        if f"stroke: {colour}" in style and "fill: none" in style and d.count("L") > 1:
            found.append([tuple(map(float, p)) for p in re.findall(r"[ML] ([\d.]+) ([\d.]+)", d)])
    return [line for line in found if len({y for _, y in line}) > 1]


@pytest.mark.parametrize("name", DRAW)
def test_a_figure_is_small_well_formed_described_and_always_the_same(study, tmp_path, name):
    before = dict(matplotlib.rcParams)
    said = DRAW[name](study, tmp_path / "a.svg")
    DRAW[name](study, tmp_path / "b.svg")
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text()
    assert dict(matplotlib.rcParams) == before
    assert len(text) < 60_000
    root = ElementTree.fromstring(text)
    assert root.find(f"{SVG}title").text == said
    assert root.get("width") == "540pt"  # 720 px
    assert "fill: #ffffff" in text  # reads the same on a dark page
    assert not re.search(r"https?://(?!www\.w3\.org/)", text)
    assert not re.search(r"\d{4}-\d\d-\d\d", text), "a date"
    ids = {element.get("id") for element in root.iter()}
    assert set(re.findall(r"(?:url\(#|href=\"#)([^)\"]*)", text)) <= ids


def test_the_frontier_has_a_line_per_method_and_kind(study, tmp_path):
    figures.frontier(study, tmp_path / "f.svg")
    texts = texts_of(tmp_path / "f.svg")
    for label in (*METHODS, "plain, entropy", "alone", "facts right, %", "call rate, %"):
        assert label in texts
    for number, method in enumerate(METHODS):
        drawn = [
            line for line in lines_in(tmp_path / "f.svg", SERIES_COLOURS[number]) if len(line) == 3
        ]
        assert len(drawn) == (2 if method == "plain" else 1), method


def test_the_frontier_is_drawn_where_the_numbers_are(study, tmp_path):
    """Heights of the markers, read back from the drawing, are a line of the pooled facts right."""
    figures.frontier(study, tmp_path / "f.svg")
    rows = pd.read_csv(study / "results.csv")
    rows = rows[(rows.seed == -1) & (rows.metric == "facts_right")]
    points = []
    for number, method in enumerate(METHODS):
        wanted = rows[
            (rows.method == method)
            & rows.condition.isin(["budget=0.1", "budget=0.22", "budget=0.35"])
        ]
        solid = next(x for x in lines_in(tmp_path / "f.svg", SERIES_COLOURS[number]) if len(x) == 3)
        points += zip(wanted.value, [y for _, y in solid], strict=True)
    (v0, y0), (v1, y1) = min(points), max(points)
    for value, y in points:
        assert y == pytest.approx(y0 + (value - v0) / (v1 - v0) * (y1 - y0), abs=0.1)
    assert y1 < y0  # up is more


def test_error_bars_span_the_pooled_interval(study, tmp_path):
    """+-2 points around lacy's 95%: as long as 4 points of the axis."""
    figures.frontier(study, tmp_path / "f.svg", where={"method": "lacy"})
    colour = SERIES_COLOURS[0]
    ends = []
    for path in ElementTree.parse(tmp_path / "f.svg").getroot().iter(f"{SVG}path"):
        found = re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d", ""))
        same = len(found) == 2 and found[0][0] == found[1][0]
        if same and f"stroke: {colour}" in path.get("style", ""):
            ends.append(abs(float(found[0][1]) - float(found[1][1])))
    (line,) = [line for line in lines_in(tmp_path / "f.svg", colour) if len(line) == 3]
    rows = pd.read_csv(study / "results.csv").query("seed == -1 and metric == 'facts_right'")
    right = dict(
        zip(rows[rows.method == "lacy"].condition, rows[rows.method == "lacy"].value, strict=True)
    )
    scale = (line[0][1] - line[1][1]) / (right["budget=0.22"] - right["budget=0.1"])
    assert len(ends) == 4  # three budgets and "alone"
    assert ends == pytest.approx([0.04 * scale] * 4, rel=0.02)


def test_sizes_and_rules_of_equality_have_separate_panels(tmp_path):
    study = write_study(tmp_path, sizes=("large", "small"), equals=("steps", "text_tokens"))
    runs = pd.read_csv(study / "runs.csv")
    runs["parameters"] = runs["size"].map({"large": 9e6, "small": 1e6})
    runs.to_csv(study / "runs.csv", index=False)
    figures.frontier(study, tmp_path / "f.svg")
    titles = [text for text in texts_of(tmp_path / "f.svg") if "the same number" in text]
    assert titles == [
        "small, the same number of steps", "small, the same number of text tokens",
        "large, the same number of steps", "large, the same number of text tokens",
    ]  # fmt: skip
    # The plain method was trained under one rule and stands in all four, with two lines each.
    drawn = [line for line in lines_in(tmp_path / "f.svg", SERIES_COLOURS[0]) if len(line) == 3]
    assert len(drawn) == 8
    figures.frontier(study, tmp_path / "g.svg", where={"size": "small", "equal": "steps"})
    assert not [text for text in texts_of(tmp_path / "g.svg") if "the same number" in text]


def test_conditions_are_parsed_from_their_settings(study, tmp_path):
    """With setup.json names may be anything: single budgets become markers, several a line."""
    rows = pd.read_csv(study / "results.csv", keep_default_na=False)
    names = {"budget=0.1": "low", "budget=0.22": "mid", "budget=0.35": "high"}
    rows["condition"] = rows["condition"].replace(names)
    rows = rows[~rows.condition.str.contains("entropy") | rows.condition.str.contains("0.22")]
    rows.to_csv(tmp_path / "results.csv", index=False)
    (tmp_path / "runs.csv").write_text((study / "runs.csv").read_text())
    policies = {"low": "budget=0.1", "mid": "budget=0.22", "high": "budget=0.35", "alone": "never"}
    conditions = {
        n: {"policy": p, "source": "database", "unit": "value"} for n, p in policies.items()
    }
    conditions["budget=0.22,by=entropy"] = {"policy": "budget=0.22,by=entropy", "source": "truth"}
    (tmp_path / "setup.json").write_text(json.dumps({"conditions": conditions, "call_rate": 0.22}))
    assert read_study(tmp_path).common_rate() == 0.22
    figures.frontier(tmp_path, tmp_path / "f.svg")
    texts = texts_of(tmp_path / "f.svg")
    assert "budget=0.22,by=entropy" in texts and "plain, entropy, truth" not in texts
    assert len([x for x in lines_in(tmp_path / "f.svg", SERIES_COLOURS[0]) if len(x) == 3]) == 1
    figures.frontier(tmp_path, tmp_path / "g.svg", conditions=["mid"])
    assert not {"alone", "plain, entropy"} & set(texts_of(tmp_path / "g.svg"))


def test_a_condition_is_read_from_its_settings_or_its_name():
    condition = parse_condition(
        "x", {"policy": "budget=0.3,by=p_call", "source": "@big", "unit": "token"}
    )
    assert (condition.budget, condition.kind, condition.signal) == (
        0.3,
        "p_call, big, by token",
        "p_call",
    )
    condition = parse_condition("budget=0.22")
    assert (condition.budget, condition.kind, condition.signal) == (0.22, "", "margin")
    assert parse_condition("random=0.22").signal == ""
    assert parse_condition("r", {"policy": "never", "source": ""}).signal == ""
    assert parse_condition("a", {"policy": "threshold=0"}) == parse_condition(
        "a", {"policy": "threshold=1"}
    )
    assert parse_condition("value_22").budget is None


def test_calibration_merges_the_bins_of_all_seeds(study, tmp_path):
    figures.calibration(study, tmp_path / "c.svg")
    texts = texts_of(tmp_path / "c.svg")
    assert {"lacy", "loss only", "random|tokens", "share of value starts"} <= set(texts)
    assert "plain" not in texts  # it never learned to call
    curves = [line for line in lines_in(tmp_path / "c.svg", SERIES_COLOURS[1]) if len(line) > 3]
    assert [len(line) for line in curves] == [15]


def test_turnover_draws_a_mean_and_a_band_of_few_points(study, tmp_path):
    figures.turnover(study, tmp_path / "t.svg")
    (line,) = [line for line in lines_in(tmp_path / "t.svg", SERIES_COLOURS[1]) if len(line) > 3]
    assert len(line) <= figures.STEPS
    heights = [y for _, y in line]
    assert heights == sorted(heights)  # SVG counts downwards: the turnover falls


def test_methods_are_compared_at_the_common_rate(study, tmp_path):
    figures.methods(study, tmp_path / "a.svg")
    texts = texts_of(tmp_path / "a.svg")
    assert [text for text in texts if text in METHODS] == list(METHODS)
    assert {"budget=0.22", "budget=0.22,by=entropy"} <= set(texts)
    assert not {"budget=0.1", "alone"} & set(texts)
    figures.methods(study, tmp_path / "b.svg", "closed_book_recall")
    assert "closed-book recall, %" in texts_of(tmp_path / "b.svg")


def test_a_condition_with_the_name_of_a_method_is_marked(study, tmp_path):
    """Both stand in one legend."""
    for name in ("runs.csv", "results.csv"):
        (tmp_path / name).write_text((study / name).read_text().replace("random|tokens", "alone"))
    figures.frontier(tmp_path, tmp_path / "f.svg")
    assert {"alone", "alone (condition)"} <= set(texts_of(tmp_path / "f.svg"))


def test_an_interval_of_a_share_stays_between_0_and_1(study, tmp_path):
    """The t interval of two seeds may be wider than everything there is."""
    rows = pd.read_csv(study / "results.csv")
    rows.loc[rows.metric == "closed_book_recall", ["low", "high"]] = [-3.0, 4.0]
    rows.to_csv(tmp_path / "results.csv", index=False)
    (tmp_path / "runs.csv").write_text((study / "runs.csv").read_text())
    figures.methods(tmp_path, tmp_path / "a.svg", "closed_book_recall")
    assert not {"-100", "200", "400"} & set(texts_of(tmp_path / "a.svg"))


def test_a_sweep_has_a_line_per_group_and_a_point_per_seed(tmp_path):
    study = write_sweep(tmp_path / "s")
    draw = dict(
        x="text_weight", metrics=["facts_right", "closed_book_recall"], group="call_negative"
    )
    figures.sweep(study, tmp_path / "s.svg", **draw)
    texts = texts_of(tmp_path / "s.svg")
    assert {"facts right, %", "closed-book recall, %", "text weight"} <= set(texts)
    for number, name in enumerate(("none", "softmax", "sigmoid")):
        assert texts.count(f"call negative: {name}") == 1
        lines = [
            line for line in lines_in(tmp_path / "s.svg", SERIES_COLOURS[number]) if len(line) == 4
        ]
        assert len(lines) == 2  # a panel per metric
    uses = list(ElementTree.parse(tmp_path / "s.svg").getroot().iter(f"{SVG}use"))
    dots = [use for use in uses if "fill-opacity: 0.4" in use.get("style", "")]
    assert len(dots) == 2 * 3 * 4 * 3  # metrics, groups, weights, seeds
    one = write_sweep(tmp_path / "one", seeds=(0,))
    figures.sweep(one, tmp_path / "one.svg", **draw)
    assert "fill-opacity: 0.4" not in (tmp_path / "one.svg").read_text()
    both = write_sweep(tmp_path / "both", equals=("steps", "text_tokens"))
    figures.sweep(both, tmp_path / "both.svg", **draw)
    assert texts_of(tmp_path / "both.svg").count("the same number of text tokens") == 2


def test_a_sweep_over_words_names_them_on_the_axis(tmp_path):
    study = write_sweep(tmp_path / "s")
    figures.sweep(study, tmp_path / "s.svg", "call_negative", ["closed_book_recall"], "text_weight")
    assert {"none", "softmax", "sigmoid", "text weight: 0.3"} <= set(texts_of(tmp_path / "s.svg"))


def test_freed_bits_begin_with_the_model_that_delegates_nothing(tmp_path):
    study = write_rates(tmp_path / "r")
    figures.freed_bits(study, tmp_path / "r.svg")
    texts = texts_of(tmp_path / "r.svg")
    assert {"stored bits, per fact", "closed-book recall, %", "size: 0.6M", "size: 2.4M"} <= set(
        texts
    )
    for number in range(2):
        lines = [
            line for line in lines_in(tmp_path / "r.svg", SERIES_COLOURS[number]) if len(line) == 4
        ]
        assert len(lines) == 2
        for line in lines:  # more calls (right), less held (down)
            assert line == sorted(line) and [y for _, y in line] == sorted(y for _, y in line)
    both = write_rates(tmp_path / "both", equals=("steps", "text_tokens"))
    figures.freed_bits(both, tmp_path / "both.svg")  # the plain model stands under both rules
    lines = [line for line in lines_in(tmp_path / "both.svg", SERIES_COLOURS[0]) if len(line) == 4]
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("draw", "code", "says"),
    [
        (lambda s, f: figures.calibration(s, f), "E88", "no calibration curve"),
        (lambda s, f: figures.turnover(s, f), "E88", "no turnover curve"),
        (lambda s, f: figures.sweep(s, f, "colour", ["f1"]), "E87", "no column colour"),
        (lambda s, f: figures.sweep(s, f, "call_rate", ["nonsense"], "method"), "E88", "nonsense"),
        (lambda s, f: figures.sweep(s, f, "call_rate", ["f1"]), "E87", "method=loss only"),
        (lambda s, f: figures.frontier(s, f, where={"method": "nobody"}), "E88", "method=nobody"),
        (lambda s, f: figures.frontier(s, f, where={"aim": "lacy"}), "E87", "no column aim"),
        (lambda s, f: figures.frontier(s, f, conditions=["never"]), "E88", "facts right"),
        (lambda s, f: figures.methods(s, f, "nonsense"), "E88", "nonsense"),
        (lambda s, f: figures.frontier(s / "nowhere", f), "E13", "runs.csv"),
    ],
)
def test_missing_data_are_named(tmp_path, draw, code, says):
    study = write_study(tmp_path / "s", curves=False, seeds=(0,))
    with pytest.raises(LacyError, match=says) as caught:
        draw(study, tmp_path / "f.svg")
    assert caught.value.code == code
    assert not (tmp_path / "f.svg").exists()


def test_invalid_study_files_are_named(tmp_path):
    study = write_study(tmp_path / "s", seeds=(0,))
    (study / "results.csv").write_text("run,size\na,b\n")
    with pytest.raises(LacyError, match=r"results\.csv .* no column method, equal"):
        figures.frontier(study, tmp_path / "f.svg")
    (study / "runs.csv").write_text("")
    with pytest.raises(LacyError, match=r"runs\.csv is not a valid study file"):
        figures.frontier(study, tmp_path / "f.svg")
    write_study(study, seeds=(0,))
    (study / "setup.json").write_text("[]")
    with pytest.raises(LacyError, match=r"setup\.json .* not one JSON object"):
        figures.frontier(study, tmp_path / "f.svg")


def test_a_missing_package_says_what_to_type(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(LacyError, match=r"'matplotlib'[\s\S]*pip install 'lacy\[study\]'"):
        figures.frontier(study, tmp_path / "f.svg")


def test_figures_within_one_page_have_distinct_ids(study, tmp_path):
    pieces = []
    for name in ("frontier", "turnover"):
        DRAW[name](study, tmp_path / f"{name}.svg")
        pieces.append(inline((tmp_path / f"{name}.svg").read_text(), name))
    root = ElementTree.fromstring(f"<page>{''.join(pieces)}</page>")
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(#|href=\"#)([^)\"]*)", "".join(pieces))) <= set(ids)
    assert "<style" not in pieces[0]
    assert "fill: #ffffff" not in pieces[0]
    assert "var(--ink, " in pieces[0]


def test_a_group_has_one_colour_in_all_panels_of_a_sweep(tmp_path):
    """Also where a metric was not measured at the group's first point."""
    folder = write_sweep(tmp_path / "study", seeds=(0,))
    rows = pd.read_csv(folder / "results.csv")
    missing = rows.method.eq("none-0.0") & rows.metric.eq("facts_right")
    missing |= rows.method.eq("none-1.0") & rows.metric.eq("closed_book_recall")
    rows[~missing].to_csv(folder / "results.csv", index=False)
    draw = dict(
        x="text_weight", metrics=["facts_right", "closed_book_recall"], group="call_negative"
    )
    figures.sweep(folder, tmp_path / "s.svg", **draw)
    lengths = {
        colour: sorted(len(line) for line in lines_in(tmp_path / "s.svg", colour) if len(line) > 2)
        for colour in SERIES_COLOURS[:3]
    }
    assert sorted(lengths.values()) == [[3, 3], [4, 4], [4, 4]]
