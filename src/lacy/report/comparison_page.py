"""A comparison of two scorecards as a page, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from lacy.report.html import (
    HtmlPage,
    PageTable,
    Passage,
    TableRow,
    format_figure,
    write_html,
)
from lacy.report.scorecard_page import format_cell, markdown_table
from lacy.results import Result, Score, metric_of
from lacy.scorecard import Comparison, MetricComparison, TextPair
from lacy.types import Answer, Span

COLUMNS = ("difference", "p, adjusted", "verdict")


def comparison_rows(comparison: Comparison) -> dict[str, list[list[str]]]:
    """Return the rows of each section as texts: metric, both values, difference and verdict."""
    found: dict[str, list[list[str]]] = {}
    for one in comparison.metrics:
        row = [one.label, format_cell(one.a), format_cell(one.b), *_tested(one)]
        found.setdefault(one.section, []).append(row)
    return found


def _tested(one: MetricComparison) -> list[str]:
    """Return difference, adjusted p-value and verdict of one metric."""
    if one.difference is None:
        return ["–", "–", one.verdict]
    share = one.difference.unit == "share"
    scale, unit = (100.0, " points") if share else (1.0, "")

    def number(value: float, *, sign: bool = True) -> str:
        if not math.isfinite(value):
            return "–"
        digits = f"{value * scale:+.1f}" if share else f"{value:+.3g}"
        return digits if sign else digits.lstrip("+-")

    low, high = number(one.difference.low), number(one.difference.high)
    words = f"{number(one.difference.value)}{unit} [{low} to {high}]"
    p = "–" if math.isnan(one.adjusted_p) else _p_value(one.adjusted_p)
    verdict: str = one.verdict
    if verdict == "no difference found":
        verdict += f" (±{number(one.detectable, sign=False)}{unit} would be)"
    return [words, p, verdict]


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def comparison_markdown(comparison: Comparison) -> str:
    """Return a comparison as Markdown: a table, what was not compared, and texts that differ."""
    head = ["metric", comparison.name_a, comparison.name_b, *COLUMNS]
    parts = []
    for section, rows in comparison_rows(comparison).items():
        parts.append(f"## {section}\n\n{markdown_table([head, *rows])}")
    parts += [f"- {note}\n" for note in comparison.notes]
    for pair in comparison.texts:
        parts.append(
            f"**{pair.unit}** ({_gap(pair)})\n\n"
            f"- {comparison.name_a}: {_line(pair.a)}\n- {comparison.name_b}: {_line(pair.b)}\n"
        )
    return "\n".join(parts)


def _gap(pair: TextPair) -> str:
    unit = metric_of(pair.metric).unit
    values = " → ".join(format_figure(value, unit) for value in (pair.value_a, pair.value_b))
    return f"{pair.condition}, {metric_of(pair.metric).label}: {values}"


def _line(text: str) -> str:
    return " ".join(text.split())


def write_comparison_page(path: str | Path, comparison: Comparison) -> None:
    """Write a comparison as one HTML file.

    Args:
        path: the HTML file.
        comparison: the comparison.
    """
    columns = [comparison.name_a, comparison.name_b, *COLUMNS]
    tables = [
        PageTable(
            name,
            columns,
            [
                TableRow(
                    one.label,
                    [_score(one.a), _score(one.b), *_tested(one)],
                    strong=one.verdict in ("better", "worse"),
                )
                for one in comparison.metrics
                if one.section == name
            ],
        )
        for name in dict.fromkeys(one.section for one in comparison.metrics)
    ]
    tested = sum(one.difference is not None for one in comparison.metrics)
    page = HtmlPage(
        title=f"{comparison.name_b} against {comparison.name_a}",
        lede=(
            f"{tested} metrics were tested in pairs, unit by unit. A verdict stands where the "
            "p-value, adjusted for all tests (Benjamini and Hochberg), is below 0.05."
        ),
        tables=tables,
        passages=[passage for pair in comparison.texts for passage in _passages(pair, comparison)],
        notes=[
            *comparison.notes,
            "\u201cWould be\u201d names the smallest true difference that a test of this size "
            "finds in four of five cases. A smaller one may exist and stay unseen.",
        ],
    )
    write_html(path, page)


def _score(result: Result) -> Score | str:
    if not math.isfinite(result.value) or result.unit == "bytes":
        return format_cell(result)
    return Score(result.value, result.low, result.high, result.n, result.unit)


def _passages(pair: TextPair, comparison: Comparison) -> Sequence[Passage]:
    """Return the texts of both sides for one unit."""
    return [
        Passage(f"{pair.unit}: {name}", Answer((Span(text, "slm"),)), note=_gap(pair))
        for name, text in ((comparison.name_a, pair.a), (comparison.name_b, pair.b))
    ]
