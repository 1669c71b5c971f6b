"""A scorecard as a page with plots, as Markdown, and as the results section of a model card."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy._text import format_bytes
from lacy.report.html import (
    Headline,
    HtmlPage,
    NextStep,
    PageFigure,
    PageTable,
    TableRow,
    format_score,
    write_html,
)
from lacy.report.svg import SeriesStyle, figure_panels, inline
from lacy.results import CONFIDENCE, Result, Score, metric_of
from lacy.scorecard import (
    ResultRow,
    Scorecard,
    SectionResult,
    columns_of,
    is_outcome,
    result_rows,
)

CARD_START, CARD_END = "<!-- lacy scorecard -->", "<!-- end of the scorecard -->"
"""Markers around the results section of a model card."""


def write_scorecard_page(path: str | Path, card: Scorecard) -> None:
    """Write a scorecard as one HTML file with tables and plots.

    Args:
        path: the HTML file.
        card: the scorecard.
    """
    tables = [table for section in card.sections for table in _tables(section)]
    figures = [f for section in card.measured if (f := _figure(section)) is not None]
    page = HtmlPage(
        title=f"Scorecard of {card.model}",
        lede=_lede(card),
        headlines=[one for section in card.measured for one in _headline(section)],
        tables=tables,
        figures=figures,
        setup=_setup(card),
        notes=[INTERVALS],
        next=[
            NextStep("lacy compare OTHER THIS", "hold this scorecard against another one"),
        ],
    )
    write_html(path, page)


INTERVALS = (
    f"Intervals: {CONFIDENCE:.0%}. Wilson's for shares of independent trials, otherwise a "
    "bootstrap over people, documents or questions (n)."
)


def _headline(section: SectionResult) -> Iterator[Headline]:
    """Yield the first outcome of a section in cascade, beside that of the model alone."""
    row = next((row for row in result_rows(section.results) if is_outcome(row.metric)), None)
    after = row.cells.get("cascade") if row else None
    if row is None or after is None or not math.isfinite(after.value):
        return
    before = row.cells.get("alone")
    score = Score(after.value, after.low, after.high, after.n, after.unit)
    known = before is not None and math.isfinite(before.value)
    yield Headline(
        row.label, score, f"{section.title}: alone, and in cascade" if known else section.title,
        Score(before.value, before.low, before.high, before.n, before.unit)
        if before is not None and known else None,
    )  # fmt: skip


def _lede(card: Scorecard) -> str:
    measured = len(card.measured)
    left_out = [section.title for section in card.sections if section.skipped]
    failed = [section.title for section in card.sections if section.failed]
    parts = [f"{measured} of {len(card.sections)} sections were measured."]
    if left_out:
        parts.append(f"Left out: {', '.join(left_out)}.")
    if failed:
        parts.append(f"Failed: {', '.join(failed)}.")
    return " ".join(parts)


def _setup(card: Scorecard) -> dict[str, str]:
    machine = card.environment
    packages = ", ".join(f"{k} {v}" for k, v in machine.get("packages", {}).items() if v)
    found = {
        "weights": card.weights,
        **{key: str(machine[key]) for key in ("lacy", "commit", "python", "system", "cores",
                                              "threads", "device", "dtype") if machine.get(key)},
        "packages": packages,
    }  # fmt: skip
    for section in card.measured:
        settings = ", ".join(f"{k} {_short(v)}" for k, v in section.settings.items())
        found[section.title] = settings
    return found


def _short(value: Any) -> str:
    return str(value[0]) if isinstance(value, list) and value else str(value)


def _columns(results: Sequence[Result]) -> list[str]:
    """Return the conditions of a section, in order."""
    return list(dict.fromkeys(r.conditions.get("condition", "") for r in results))


def _tables(section: SectionResult) -> Iterator[PageTable]:
    """Yield the tables of a section: one of all units, and a collapsed one of groups."""
    if section.skipped or section.failed:
        yield PageTable(section.title, [], [], _absence(section), folded=True)
        return
    for (fixed, rows), number in zip(_blocks(section), range(1000), strict=False):
        columns = columns_of(rows)
        note = " ".join(part for part in (section.question if number == 0 else "", fixed) if part)
        yield PageTable(
            section.title,
            [column or "value" for column in columns],
            [_row(row, columns) for row in rows],
            note,
        )
    grouped = [r for r in section.results if "group" in r.conditions]
    if grouped:
        columns = _columns(grouped)
        groups: dict[str, dict[str, Result]] = {}
        for result in grouped:
            name = f"{metric_of(result.metric).label}, {result.conditions['group']}"
            groups.setdefault(name, {})[result.conditions.get("condition", "")] = result
        yield PageTable(
            f"{section.title}, by group",
            [column or "value" for column in columns],
            [
                TableRow(name, [_cell(cells.get(column)) for column in columns])
                for name, cells in groups.items()
            ],
            folded=True,
        )


def _absence(section: SectionResult) -> str:
    """Say why a section has no results."""
    return f"Left out: {section.skipped}." if section.skipped else f"Failed: {section.failed}"


def _blocks(section: SectionResult) -> Iterator[tuple[str, list[ResultRow]]]:
    """Yield the metrics of a section, apart for each judge: their scores never share a column."""
    by_judge: dict[str, list[Result]] = {}
    for result in section.results:
        by_judge.setdefault(result.conditions.get("judge", ""), []).append(result)
    for judge, results in by_judge.items():
        agreement = next((a for r in results if (a := r.conditions.get("agreement"))), "")
        words = f"Judge: {judge}. {agreement}".strip() if judge else ""
        yield words, result_rows(results)


def _row(row: ResultRow, columns: Sequence[str]) -> TableRow:
    cells = [_cell(row.cells.get(name)) for name in columns]
    return TableRow(row.label, cells, metric_of(row.metric).meaning)


def _cell(result: Result | None) -> Score | str | None:
    if result is None:
        return None
    if not math.isfinite(result.value) or result.unit == "bytes":
        return format_cell(result)
    return Score(result.value, result.low, result.high, result.n, result.unit)


def format_cell(result: Result | None) -> str:
    """Format a result for a table: a value with its interval, or why there is none."""
    if result is None:
        return "–"
    if not math.isfinite(result.value):
        return result.conditions.get("not available", "undefined")
    return format_bytes(result.value) if result.unit == "bytes" else format_score(result)


def _figure(section: SectionResult) -> PageFigure | None:
    """Draw the shares and AUROCs of a section with their intervals, a colour per condition."""
    rows = [
        row
        for row in result_rows(section.results)
        if any(r.unit in ("share", "AUROC") and math.isfinite(r.value) for r in row.cells.values())
    ]
    if not rows:
        return None
    names = columns_of(rows)
    buffer = io.StringIO()
    title = f"{section.title}: values and 95% intervals"
    with figure_panels(buffer, 1, title, height=0.9 + 0.3 * len(rows)) as (axes,):
        step = 0.7 / max(1, len(names))
        for place, name in enumerate(names):
            style = SeriesStyle(place)
            offset = (place - (len(names) - 1) / 2) * step
            found = [(n + offset, row.cells.get(name)) for n, row in enumerate(rows)]
            points = [(y, r) for y, r in found if r is not None and math.isfinite(r.value)]
            for y, result in points:
                if math.isfinite(result.low):
                    axes.plot([100 * result.low, 100 * result.high], [y, y], color=style.colour)
            axes.plot(
                [100 * r.value for _, r in points], [y for y, _ in points], color=style.colour,
                marker=style.marker, linestyle="none", label=name or "value",
            )  # fmt: skip
        axes.set_yticks(range(len(rows)), [row.label for row in rows])
        axes.set(xlim=(-2, 102), ylim=(len(rows) - 0.5, -0.5), xlabel="%, or 100 x AUROC")
    return PageFigure(section.title, inline(buffer.getvalue(), f"section-{section.name}"))


def scorecard_markdown(card: Scorecard, *, level: int = 2) -> str:
    """Return the tables of a scorecard as Markdown.

    Args:
        card: the scorecard.
        level: level of the headings of sections.
    """
    parts = []
    for section in card.sections:
        heading = f"{'#' * level} {section.title}\n"
        if section.skipped or section.failed:
            parts.append(f"{heading}\n{_absence(section)}\n")
            continue
        parts.append(f"{heading}\n{section.question}\n")
        for words, rows in _blocks(section):
            columns = columns_of(rows)
            lines = [["metric", *(column or "value" for column in columns), "n"]]
            for row in rows:
                unit = metric_of(row.metric).shown_unit
                plain = unit in ("share", "AUROC", "", "bytes")
                counts = sorted({result.n for result in row.cells.values()})
                lines.append(
                    [
                        row.label if plain else f"{row.label} ({unit})",
                        *(format_cell(row.cells.get(column)) for column in columns),
                        ", ".join(f"{n:,}" for n in counts),
                    ]
                )
            if words:
                parts.append(words + "\n")
            parts.append(markdown_table(lines))
    return "\n".join(parts)


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first line is its head."""
    head, *rows = [[_escaped(cell) for cell in line] for line in lines]
    ruled = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in ruled)


def _escaped(cell: str) -> str:
    """Return the text of a cell without characters that Markdown would read as its own."""
    return cell.replace("|", r"\|").replace("<", "&lt;").replace("\n", " ")


def model_card_results(card: Scorecard) -> str:
    """Return the results section of a model card, between markers that a later one replaces."""
    machine: Mapping[str, Any] = card.environment
    commit = f", commit {machine['commit']}" if machine.get("commit") else ""
    return (
        f"{CARD_START}\n## Results\n\nMeasured with lacy {machine.get('lacy', '')}{commit}. "
        f"{INTERVALS}\n\n{scorecard_markdown(card, level=3)}{CARD_END}\n"
    )


def with_results(readme: str, card: Scorecard) -> str:
    """Return a model card with the results of a scorecard: in place of earlier ones, or last."""
    results = model_card_results(card)
    before, start, rest = readme.partition(CARD_START)
    if not start:
        return f"{readme.rstrip()}\n\n{results}" if readme.strip() else results
    _, end, after = rest.partition(CARD_END)
    if not end:  # only our opening marker is left: keep what the author wrote
        return f"{readme.replace(CARD_START, '').rstrip()}\n\n{results}"
    return before + results + after.lstrip("\n")
