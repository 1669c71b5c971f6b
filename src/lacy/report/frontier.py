"""Figures that compare methods and conditions: quality against call rate, and one metric of all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.report.study_files import Key, ParsedCondition, Study, conditions_at_rate, read_study
from lacy.report.svg import GRID, HOLLOW, MUTED, Output, SeriesStyle, figure_panels, share_limits
from lacy.results import Score, metric_of


def frontier(
    folder: str | Path,
    file: Output,
    *,
    conditions: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> str:
    """Draw facts right against the realised call rate, a line per method over its budgets.

    Conditions without a budget, or with only one, are drawn as single hollow markers. Bars are the
    intervals of the scores pooled over seeds.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        conditions: names of the conditions to use; empty for all.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E88 if no condition has a call rate and facts right.
    """
    study = read_study(folder, where)
    costs_of = {key: _costs(study, key, conditions) for key in study.keys}
    all_conditions = [cost[0] for costs in costs_of.values() for cost in costs]
    if not all_conditions:
        raise LacyError("E88", what="no condition with a call rate and facts right", where=folder)
    counts = Counter(
        kind
        for kind, _ in {
            (condition.kind, condition.budget)
            for condition in all_conditions
            if condition.budget is not None
        }
    )
    kinds = [
        kind
        for kind in dict.fromkeys(condition.kind for condition in all_conditions)
        if counts[kind] > 1
    ]
    names = list(
        dict.fromkeys(
            condition.name
            for condition in all_conditions
            if condition.budget is None or condition.kind not in kinds
        )
    )
    description = "Facts right against the call rate, by method; bars are 95% intervals."
    with figure_panels(file, len(study.groups), description) as panels:
        for axes, group in zip(panels, study.groups, strict=True):
            for key in study.members(*group):
                number, costs = study.methods.index(key[2]), costs_of[key]
                styles = {kind: SeriesStyle(number, i) for i, kind in enumerate(kinds)}
                _draw_budget_lines(axes, key[2], costs, styles)
                single = [cost for cost in costs if cost[0].name in names]
                _draw_single_markers(axes, key[2], SeriesStyle(number), single, names)
            _legend_of_names(axes, names, study.methods)
            title = study.panel_title(group)
            axes.set(xlabel="call rate, %", ylabel="facts right, %", title=title)
            axes.margins(x=0.06, y=0.08)
        share_limits(panels, "x")
        share_limits(panels, "y")
    return description


Cost = tuple[ParsedCondition, float, float, float, float]
"""A condition, its call rate, its facts right, and their interval (low, high), in percent."""


def _costs(study: Study, key: Key, conditions: Sequence[str]) -> list[Cost]:
    all_costs: list[Cost] = []
    for condition in study.conditions(key):
        rate = study.get(key, "call_rate", condition.name)
        quality = study.get(key, "facts_right", condition.name)
        if (conditions and condition.name not in conditions) or not rate or not quality:
            continue
        x, score = rate.score.value, quality.score
        if math.isfinite(x) and math.isfinite(score.value):
            percent = (100 * x, 100 * score.value, 100 * score.low, 100 * score.high)
            all_costs.append((condition, *percent))
    return sorted(all_costs, key=lambda cost: cost[1])


def _draw_budget_lines(
    axes: Any, method: str, costs: Sequence[Cost], styles: Mapping[str, SeriesStyle]
) -> None:
    for kind, pen in styles.items():
        line = [cost for cost in costs if cost[0].budget is not None and cost[0].kind == kind]
        if not line:
            continue
        _, x, y, _, _ = zip(*line, strict=True)
        label = f"{method}, {kind}" if kind else method
        axes.plot(x, y, color=pen.colour, marker=pen.marker, linestyle=pen.dash, label=label)
        _bars(axes, line, pen)


def _draw_single_markers(
    axes: Any, method: str, pen: SeriesStyle, costs: Sequence[Cost], names: Sequence[str]
) -> None:
    """Draw single markers; a method that has no line gets a colour patch in the legend."""
    for cost in costs:
        axes.plot(
            cost[1], cost[2], marker=HOLLOW[names.index(cost[0].name) % len(HOLLOW)],
            markersize=7.5, markerfacecolor="white", markeredgewidth=1.6, color=pen.colour,
            linestyle="", zorder=4,
        )  # fmt: skip
        _bars(axes, [cost], pen)
    if costs and method not in axes.get_legend_handles_labels()[1]:
        axes.plot([], [], color=pen.colour, linewidth=5, solid_capstyle="butt", label=method)


def _bars(axes: Any, costs: Sequence[Cost], pen: SeriesStyle) -> None:
    spans = [c for c in costs if math.isfinite(c[3]) and math.isfinite(c[4])]
    axes.vlines(
        [c[1] for c in spans], [c[3] for c in spans], [c[4] for c in spans],
        color=pen.colour, alpha=0.75, linewidth=1.2,
    )  # fmt: skip


def _legend_of_names(axes: Any, names: Sequence[str], methods: Sequence[str]) -> None:
    for i, name in enumerate(names):
        axes.plot(
            [], [], marker=HOLLOW[i % len(HOLLOW)], markersize=7.5, markerfacecolor="white",
            markeredgewidth=1.6, color=MUTED, linestyle="",
            label=f"{name} (condition)" if name in methods else name,
        )  # fmt: skip


def methods(
    folder: str | Path,
    file: Output,
    metric: str = "facts_right",
    *,
    conditions: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> str:
    """Draw one metric for all methods: a row per method, a marker per condition.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        metric: a metric of answers or of the model itself.
        conditions: names of the conditions to use; by default those at the common call rate.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E88 if the metric was not measured.
    """
    study = read_study(folder, where)
    scores_of = {key: _side_by_side(study, key, metric, conditions) for key in study.keys}
    names = list(dict.fromkeys(name for scores in scores_of.values() for name in scores))
    if not names:
        raise LacyError("E88", what=f"no {metric} of the methods", where=folder)
    metric_info = metric_of(metric)
    description = (
        f"{metric_info.label[0].upper()}{metric_info.label[1:]} by method; bars are 95% intervals."
    )
    rows = [
        method
        for method in study.methods
        if any(scores_of[key] for key in study.keys if key[2] == method)
    ]
    markers = max(map(len, scores_of.values()))
    height = 0.7 + len(rows) * (0.16 + 0.1 * markers)
    # `figure_panels` shrinks the rows of a figure with several panels by this factor.
    height = height if len(study.groups) == 1 else height / 0.76
    with figure_panels(file, len(study.groups), description, height=height) as panels:
        for i, (axes, group) in enumerate(zip(panels, study.groups, strict=True)):
            method_scores = {key[2]: scores_of[key] for key in study.members(*group)}
            _rows(axes, [method_scores.get(method, {}) for method in rows], names, metric_info.unit)
            axes.set_yticks(range(len(rows)), rows if i % 2 == 0 else [""] * len(rows))
            axes.set(xlabel=metric_info.axis_label, ylabel="", title=study.panel_title(group))
        share_limits(panels, "x")
    return description


def _side_by_side(
    study: Study, key: Key, metric: str, conditions: Sequence[str]
) -> dict[str, Score]:
    """Return the metric by condition; a metric of the model itself has the key ""."""
    model_score = study.get(key, metric)
    if model_score:
        return {"": model_score.score} if math.isfinite(model_score.score.value) else {}
    selected = (
        study.conditions(key)
        if conditions
        else [condition for _, condition in conditions_at_rate(study, [key], study.common_rate())]
    )
    scores = {condition.name: study.get(key, metric, condition.name) for condition in selected}
    return {
        name: score.score
        for name, score in scores.items()
        if score and math.isfinite(score.score.value) and (not conditions or name in conditions)
    }


def _rows(axes: Any, rows: Sequence[Mapping[str, Score]], names: Sequence[str], unit: str) -> None:
    scale = 100 if unit == "share" else 1
    for i, name in enumerate(names):
        pen = SeriesStyle(i)
        points = [(_height(y, name, scores), scores[name]) for y, scores in enumerate(rows)
                if name in scores]  # fmt: skip
        axes.plot(
            [scale * score.value for _, score in points], [y for y, _ in points],
            color=pen.colour, marker=pen.marker, linestyle="", label=name or None, zorder=3,
        )  # fmt: skip
        bars = [(y, s.low, s.high) for y, s in points if math.isfinite(s.low + s.high)]
        if unit == "share":  # t intervals over few seeds may exceed the range of a share
            bars = [(y, max(0.0, low), min(1.0, high)) for y, low, high in bars]
        axes.hlines(
            [y for y, _, _ in bars], [scale * low for _, low, _ in bars],
            [scale * high for _, _, high in bars], color=pen.colour, alpha=0.75, linewidth=1.4,
        )  # fmt: skip
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    for y in range(1, len(rows)):
        axes.axhline(y - 0.5, color=GRID, linewidth=0.8, zorder=0)


def _height(row: int, name: str, scores: Mapping[str, Score]) -> float:
    """Return the y position of a condition's marker in the row of a method."""
    return row + 0.76 * ((list(scores).index(name) + 0.5) / len(scores) - 0.5)
