"""Figures of methods and conditions: facts right against cost, and all side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.evaluate import Score, metric_of
from lacy.report.study_files import Key, ParsedCondition, Study, conditions_at_rate, read_study
from lacy.report.svg import GRID, HOLLOW, MUTED, Output, SeriesStyle, share_limits, sheet


def frontier(
    folder: str | Path,
    file: Output,
    *,
    conditions: Sequence[str] = (),
    where: Mapping[str, str] | None = None,
) -> str:
    """Draw facts right against the realised call rate: a line per method over its budgets.

    Conditions with only one budget, or none, are single hollow markers. Bars are the intervals of
    the scores pooled over seeds.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        conditions: names of the conditions to use; empty for all.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E88 if no condition has a call rate and facts right.
    """
    study = read_study(folder, where)
    found = {key: _costs(study, key, conditions) for key in study.keys}
    every = [cost[0] for costs in found.values() for cost in costs]
    if not every:
        raise LacyError("E88", what="no condition with a call rate and facts right", where=folder)
    counts = Counter(
        kind for kind, _ in {(c.kind, c.budget) for c in every if c.budget is not None}
    )
    kinds = [k for k in dict.fromkeys(c.kind for c in every) if counts[k] > 1]
    names = list(dict.fromkeys(c.name for c in every if c.budget is None or c.kind not in kinds))
    what = "Facts right against the call rate, by method; bars are 95% intervals."
    with sheet(file, len(study.groups), what) as panels:
        for axes, group in zip(panels, study.groups, strict=True):
            for key in study.members(*group):
                number, costs = study.methods.index(key[2]), found[key]
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
    return what


Cost = tuple[ParsedCondition, float, float, float, float]
"""A condition with its call rate, its facts right and their interval, in percent."""


def _costs(study: Study, key: Key, conditions: Sequence[str]) -> list[Cost]:
    found: list[Cost] = []
    for condition in study.conditions(key):
        rate = study.get(key, "call_rate", condition.name)
        right = study.get(key, "facts_right", condition.name)
        if (conditions and condition.name not in conditions) or not rate or not right:
            continue
        x, score = rate.score.value, right.score
        if math.isfinite(x) and math.isfinite(score.value):
            percent = (100 * x, 100 * score.value, 100 * score.low, 100 * score.high)
            found.append((condition, *percent))
    return sorted(found, key=lambda cost: cost[1])


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
    """Draw single markers; a method without a line is identified by its colour."""
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
    """Draw one metric of every method: a row per method, a marker per condition.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        metric: of a condition, or of the model itself.
        conditions: only these, by name; by default those at the common call rate.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E88 if the metric was not measured.
    """
    study = read_study(folder, where)
    found = {key: _side_by_side(study, key, metric, conditions) for key in study.keys}
    names = list(dict.fromkeys(name for scores in found.values() for name in scores))
    if not names:
        raise LacyError("E88", what=f"no {metric} of the methods", where=folder)
    shown = metric_of(metric)
    what = f"{shown.label[0].upper()}{shown.label[1:]} by method; bars are 95% intervals."
    rows = [
        method
        for method in study.methods
        if any(found[key] for key in study.keys if key[2] == method)
    ]
    markers = max(map(len, found.values()))
    high = 0.7 + len(rows) * (0.16 + 0.1 * markers)
    high = high if len(study.groups) == 1 else high / 0.76
    with sheet(file, len(study.groups), what, height=high) as panels:
        for i, (axes, group) in enumerate(zip(panels, study.groups, strict=True)):
            here = {key[2]: found[key] for key in study.members(*group)}
            _rows(axes, [here.get(method, {}) for method in rows], names, shown.unit)
            axes.set_yticks(range(len(rows)), rows if i % 2 == 0 else [""] * len(rows))
            unit = {"share": ", %", "AUROC": "", "": ""}.get(
                shown.shown_unit, f", {shown.shown_unit}"
            )
            axes.set(xlabel=f"{shown.label}{unit}", ylabel="", title=study.panel_title(group))
        share_limits(panels, "x")
    return what


def _side_by_side(
    study: Study, key: Key, metric: str, conditions: Sequence[str]
) -> dict[str, Score]:
    """Return the metric by condition; the key is "" for a metric of the model itself."""
    own = study.get(key, metric)
    if own:
        return {"": own.score} if math.isfinite(own.score.value) else {}
    asked = (
        study.conditions(key)
        if conditions
        else [condition for _, condition in conditions_at_rate(study, [key], study.common_rate())]
    )
    found = {condition.name: study.get(key, metric, condition.name) for condition in asked}
    return {
        name: each.score
        for name, each in found.items()
        if each and math.isfinite(each.score.value) and (not conditions or name in conditions)
    }


def _rows(axes: Any, rows: Sequence[Mapping[str, Score]], names: Sequence[str], unit: str) -> None:
    scale = 100 if unit == "share" else 1
    for i, name in enumerate(names):
        pen = SeriesStyle(i)
        here = [(_height(y, name, scores), scores[name]) for y, scores in enumerate(rows)
                if name in scores]  # fmt: skip
        axes.plot(
            [scale * score.value for _, score in here], [y for y, _ in here],
            color=pen.colour, marker=pen.marker, linestyle="", label=name or None, zorder=3,
        )  # fmt: skip
        bars = [(y, s.low, s.high) for y, s in here if math.isfinite(s.low + s.high)]
        if unit == "share":  # t intervals of few seeds go beyond what a share can be
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
    """Return the position of a condition's marker within the row of a method."""
    return row + 0.76 * ((list(scores).index(name) + 0.5) / len(scores) - 0.5)
