"""Tables of a study as Markdown: methods at the same call rate, and their paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.report.html import format_figure
from lacy.report.study_files import (
    EQUAL,
    Key,
    ParsedCondition,
    PooledScore,
    Study,
    conditions_at_rate,
    read_study,
    select_rows,
)
from lacy.results import Score, metric_of

METHODS = (
    "call_rate", "facts_right", "recall", "f1", "closed_book_recall", "auroc_start",
    "calls_per_fact", "call_starts", "entities_right", "borrowed_entities_right", "right_per_text",
    "entity_recall", "calls_per_answer", "language_loss", "stored_bits",
)  # fmt: skip
"""Columns of the table of methods, in worlds and on articles; ``auroc_start`` is the AUROC of
the condition's signal."""


@dataclass(frozen=True, slots=True)
class TableLine:
    """The scores of one method under one condition."""

    method: str
    condition: ParsedCondition
    scores: dict[str, PooledScore]
    """The scores by metric."""


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A table whose lines can be compared with each other."""

    title: str
    lines: tuple[TableLine, ...]
    compared: bool
    """True if all lines have the same call rate, so the best values may be marked."""


def methods_table(
    folder: str | Path,
    *,
    metrics: Sequence[str] = METHODS,
    conditions: Sequence[str] = (),
    call_rate: float | None = None,
    where: Mapping[str, str] | None = None,
) -> str:
    """Return a Markdown table of all methods and conditions at the common call rate.

    A second table has the conditions at other call rates.

    Args:
        folder: the study's folder.
        metrics: the columns of the table; metrics that were not measured are left out.
        conditions: names of the conditions to use; empty for all.
        call_rate: the budget to compare at; by default the most common one.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E13, E87 for missing or foreign files; E88 if no condition was asked.
    """
    study = read_study(folder, where)
    parts = [
        _block(block, metrics) for block in table_blocks(study, metrics, call_rate, conditions)
    ]
    if not parts:
        raise LacyError("E88", what="no condition was measured", where=folder)
    return "\n\n".join([*parts, f"<sub>{_note(study, metrics)}</sub>"])


def _note(study: Study, metrics: Sequence[str]) -> str:
    """Explain how to read the tables."""
    many = study.seeds > 1
    sentences = [
        f"{study.seeds} seed{'s' * many}.",
        "In brackets 95% intervals: for answers over people and seeds, for figures of the model "
        "itself (such as closed-book recall) over seeds; below them the lowest and highest seed."
        if many
        else "In brackets 95% intervals over people.",
        "Bold: best of its table.",
    ]
    if "auroc_start" in metrics:
        sentences.append("AUROC: of the signal that places the calls, at value starts.")
    return " ".join(sentences)


def table_blocks(
    study: Study,
    metrics: Sequence[str] = METHODS,
    rate: float | None = None,
    conditions: Sequence[str] = (),
) -> list[TableBlock]:
    """Return two tables per size and rule of equality: at the common rate, and at other rates.

    Args:
        study: the study's files, from ``read_study``.
        metrics: the columns of the table.
        rate: the budget to compare at; by default the most common one.
        conditions: names of the conditions to use; empty for all.
    """
    rate = study.common_rate() if rate is None else rate
    tables = []
    for size, equal in study.groups:
        keys = study.members(size, equal)
        at_rate = list(conditions_at_rate(study, keys, rate))
        at_other_rates = [
            (key, condition)
            for key in keys
            for condition in study.conditions(key)
            if condition.budget is None
        ]
        at_other_rates = [pair for pair in at_other_rates if pair not in at_rate]
        keys_at_rate = {
            key for key, condition in at_rate if not conditions or condition.name in conditions
        }
        title = f"Size {size}, {EQUAL.get(equal, equal)}"
        common = "" if rate is None else f", call rate {100 * rate:g}%"
        for suffix, pairs in ((common, at_rate), (", other call rates", at_other_rates)):
            lines = tuple(
                _line(study, key, condition, metrics, pairs is at_rate or key not in keys_at_rate)
                for key, condition in pairs
                if not conditions or condition.name in conditions
            )
            if lines:
                compared = pairs is at_rate and rate is not None
                tables.append(TableBlock(title + suffix, lines, compared))
    return tables


def _line(
    study: Study, key: Key, condition: ParsedCondition, metrics: Sequence[str], models: bool
) -> TableLine:
    """Return the scores of a condition and, if ``models``, of the model itself."""
    scores = {}
    for metric in metrics:
        name = metric
        if metric == "auroc_start":
            name = f"auroc_{condition.signal}_start" if condition.signal else ""
        score = study.get(key, name, condition.name)
        score = score or (study.get(key, name) if models else None)
        if score and math.isfinite(score.score.value):
            scores[metric] = score
    return TableLine(key[2], condition, scores)


def column_label(metric: str) -> str:
    """Return the header of a column, with the unit if the cells do not show it."""
    if metric == "auroc_start":
        return "AUROC at value starts"
    metric_info = metric_of(metric)
    unit = metric_info.shown_unit
    return f"{metric_info.label}, {unit}" if unit in ("nats", "per fact") else metric_info.label


def _block(block: TableBlock, metrics: Sequence[str]) -> str:
    columns = [m for m in metrics if any(m in line.scores for line in block.lines)]
    best = {metric: _best(block, metric) for metric in columns}
    rows = [
        ["method", "condition", *map(column_label, columns)],
        ["---", "---", *["---:"] * len(columns)],
    ]
    for line in block.lines:
        cells = [_cell(line.scores[m], best[m]) if m in line.scores else "–" for m in columns]
        rows.append([_text(line.method), _text(line.condition.name), *cells])
    return f"**{_text(block.title)}**\n\n" + _rows(rows)


def _best(block: TableBlock, metric: str) -> str:
    """Return the best value as it is printed (so that ties count), or "" if there is none."""
    better = 1 if metric == "auroc_start" else metric_of(metric).sign
    scores = [line.scores[metric].score for line in block.lines if metric in line.scores]
    if not block.compared or not better or len({_value(score) for score in scores}) < 2:
        return ""
    return _value(max(scores, key=lambda score: better * score.value))


def format_cell_value(value: float, unit: str, *, bare: bool = False) -> str:
    """Format a value with the same number of decimals for all values of a unit."""
    if unit in ("share", "AUROC") or not math.isfinite(value):
        return format_figure(value, unit, bare=bare)
    return f"{value:.{3 if unit.startswith('nats') else 2}f}"


def _value(score: Score) -> str:
    return format_cell_value(score.value, score.unit)


def _cell(pooled: PooledScore, best: str) -> str:
    score, value = pooled.score, _value(pooled.score)
    text = f"**{value}**" if value == best else value
    if math.isfinite(score.low) and math.isfinite(score.high):
        text += f" [{_span(score.low, score.high, score.unit)}]"
    ends = [
        format_cell_value(end(pooled.seeds.values()), score.unit)
        for end in (min, max)
        if pooled.seeds
    ]
    if len(set(ends)) > 1:
        spread = _span(min(pooled.seeds.values()), max(pooled.seeds.values()), score.unit)
        text += f"<br><sub>seeds {spread}</sub>"
    return text


def _span(low: float, high: float, unit: str) -> str:
    sign = " to " if low < 0 else "-"
    return sign.join(format_cell_value(value, unit, bare=True) for value in (low, high))


def _text(text: str) -> str:
    """Escape a text for a table cell."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def _rows(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def comparisons_table(
    folder: str | Path,
    *,
    metrics: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> str:
    """Return the paired comparisons as Markdown, one table per size and rule of equality.

    Args:
        folder: the study's folder.
        metrics: names of the metrics to show; empty for all.
        where: use only rows with these values: columns of comparisons.csv and their values,
            separated by commas.

    Raises:
        LacyError: E13, E87 for missing or foreign files; E88 if no comparison is left.
    """
    rows = read_comparisons(folder, metrics, where)
    parts = []
    for (size, equal), group in rows.groupby(["size", "equal"], sort=False):
        lines = [["metric", "a", "b", "a - b", "p", "people", "seeds"]]
        lines.append(["---", "---", "---", *["---:"] * 4])
        for row in group.to_dict("records"):
            sides = [_text(row["a"]), _text(row["b"])]
            people, seeds = (f"{int(row[name]):,}" for name in ("n", "seeds"))
            metric = metric_of(row["metric"]).label
            lines.append(
                [metric, *sides, format_difference(row), format_p_value(row["p"]), people, seeds]
            )
        title = f"Size {size}, {EQUAL.get(equal, equal)}"
        parts.append(f"**{_text(title)}**\n\n{_rows(lines)}")
    return "\n\n".join(parts)


def read_comparisons(
    folder: str | Path, metrics: Sequence[str] = (), where: Mapping[str, str] | None = None
) -> Any:
    """Return the rows of comparisons.csv, selected as in ``comparisons_table``."""
    path = Path(folder) / "comparisons.csv"
    allowed = dict(where or {}) | ({"metric": ",".join(metrics)} if metrics else {})
    rows = select_rows(path, allowed).dropna(subset=["difference"])
    if rows.empty:
        raise LacyError("E88", what="no comparison", where=folder)
    return rows


def format_difference(row: Mapping[str, Any]) -> str:
    """Format a difference with its interval and signs; shares are in percentage points."""
    unit = metric_of(row["metric"]).shown_unit
    share = unit == "share"
    scale, form = (100, "+.1f") if share else (1, "+.3f")
    value, low, high = (scale * row[name] for name in ("difference", "low", "high"))
    suffix = {"share": " points", "": "", "AUROC": ""}.get(unit, f" {unit}")
    text = f"{value:{form}}{suffix}"
    return f"{text} [{low:{form}} to {high:{form}}]" if math.isfinite(low + high) else text


def format_p_value(p: float) -> str:
    """Format a p-value."""
    if not math.isfinite(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


STUDY_TABLES: dict[str, Callable[..., str]] = {
    "methods": methods_table,
    "comparisons": comparisons_table,
}
"""The tables of a study by name."""
