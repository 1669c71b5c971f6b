"""Tables of results: a row per metric and variant, a column per condition."""

import math

import numpy as np

from lacy.report import format_cell, scorecard_markdown, with_results, write_scorecard_page
from lacy.results import Result, UnitCounts
from lacy.scorecard import Scorecard, SectionResult, columns_of, result_rows
from lacy.scorecard.combined import ByPolicy, Combined


def result(metric, value=0.5, unit="share", **conditions):
    return Result(metric, value, value - 0.1, value + 0.1, 20, unit, 0, conditions)


class Part:
    def __init__(self, *results, units=()):
        self._results, self._units = list(results), list(units)

    def results(self):
        return self._results

    def units(self):
        return self._units


def test_rows_have_a_column_per_condition():
    rows = result_rows(
        [
            result("answers_right", 0.1, condition="alone", policy="never"),
            result("answers_right", 0.9, condition="cascade", policy="threshold=0"),
            result("answers_right", 0.7, condition="cascade", group="occupation"),
        ]
    )
    (row,) = rows
    assert (row.metric, row.variant) == ("answers_right", "")
    assert {name: cell.value for name, cell in row.cells.items()} == {"alone": 0.1, "cascade": 0.9}
    assert columns_of(rows) == ["alone", "cascade"]


def test_what_tells_results_apart_is_part_of_the_label():
    rows = result_rows(
        [
            result("decode_rate", 9.0, "tokens per second", condition=c, quantile=q, call_rate=rate)
            for c, rate in (("alone", "0.0"), ("cascade", "0.2"))
            for q in ("p50", "p95")
        ]
    )
    assert [row.variant for row in rows] == ["p50", "p95"]
    assert all(set(row.cells) == {"alone", "cascade"} for row in rows)
    assert rows[1].label.endswith(", p95")


def test_combined_parts_get_their_condition():
    units = UnitCounts({"judge": "j"}, ("a",), {"questions": np.ones(1)})
    both = Combined({"alone": Part(result("x")), "cascade": Part(result("x"), units=[units])})
    assert [one.conditions["condition"] for one in both.results()] == ["alone", "cascade"]
    (found,) = both.units()
    assert found.conditions == {"judge": "j", "condition": "cascade"}


def test_policies_name_conditions():
    part = Part(result("x", policy="never"), result("x", policy="threshold=0"), result("size"))
    found = ByPolicy(part, {"never": "alone", "threshold=0": "cascade"}.__getitem__).results()
    assert [one.conditions["condition"] for one in found] == ["alone", "cascade", ""]


def test_cells_say_why_there_is_no_value():
    nothing = Result("energy_per_token", math.nan, math.nan, math.nan, 0, "J", 0,
                     {"not available": "no counters"})  # fmt: skip
    assert format_cell(nothing) == "no counters"
    assert format_cell(None) == "–"
    assert format_cell(result("peak_memory", 3 << 20, "bytes")) == "3 MB"


def card(*results, **more):
    section = SectionResult("s", "Texts | by hand", "Right?", "k", results=results, **more)
    left_out = SectionResult("t", "Tasks", "?", skipped="give --tasks NAME")
    return Scorecard("tiny", "w", (section, left_out), {"lacy": "0.1.0", "commit": "abc"})


def test_scores_of_different_judges_never_share_a_column():
    text = scorecard_markdown(
        card(
            result("factscore", 0.3, judge="verifier", agreement="AUROC 0.9", condition="alone"),
            result("factscore", 0.6, judge="overlap", agreement="AUROC 0.8", condition="alone"),
        )
    )
    assert text.count("| metric | alone | n |") == 2
    assert "Judge: verifier. AUROC 0.9" in text
    assert "Judge: overlap. AUROC 0.8" in text
    assert "Left out: give --tasks NAME." in text


def test_the_page_shows_every_section(tmp_path):
    made = card(
        result("answers_right", 0.25, condition="alone"),
        result("answers_right", 0.75, condition="cascade"),
        result("answers_right", 0.75, condition="cascade", group="<b>occupation</b>"),
    )
    write_scorecard_page(tmp_path / "a.html", made)
    write_scorecard_page(tmp_path / "b.html", made)
    page = (tmp_path / "a.html").read_text()
    assert page == (tmp_path / "b.html").read_text()
    assert "Scorecard of tiny" in page and "give --tasks NAME" in page
    assert "25.0%" in page and "75.0%" in page and "<svg" in page
    assert "&lt;b&gt;occupation" in page and "<b>occupation" not in page


def test_a_model_card_keeps_what_its_author_wrote():
    made, later = card(result("answers_right", 0.25)), card(result("answers_right", 0.75))
    readme = "# My model\n\nBy me.\n"
    once = with_results(readme, made)
    assert once.startswith(readme) and "25.0%" in once and "commit abc" in once
    text = once + "\n## Licence\n\nFree.\n"
    twice = with_results(text, later)
    assert "75.0%" in twice and "25.0%" not in twice
    assert twice.startswith(readme) and "## Licence\n\nFree.\n" in twice
    assert with_results(twice, later) == twice
    cut = text.replace("<!-- end of the scorecard -->", "")
    assert "Free." in with_results(cut, later)
    assert with_results("", made).startswith("<!-- lacy scorecard -->")
