"""Figures of a study: calibration, sweeps over settings, selection turnover, stored bits.

The figures ``frontier`` and ``methods``, which compare methods and conditions, are in
``frontier.py``. Each function reads the study's folder, writes one file and returns the
figure's alternative text. If its data were not measured, it raises E88.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.evaluate import BINS
from lacy.report.frontier import frontier, methods
from lacy.report.study_files import EQUAL, Key, read_study
from lacy.report.svg import Output, SeriesStyle, draw_bins, draw_diagonal, figure_panels
from lacy.report.sweep import SweepPoint, sweep_points
from lacy.results import metric_of

STEPS = 60
"""Maximum number of points of a curve over training."""
Where = Mapping[str, str] | None


def calibration(folder: str | Path, file: Output, *, where: Where = None) -> str:
    """Draw the share of value starts against p(CALL), a line per method.

    Bins of several seeds are merged, weighted by their tokens; larger markers stand for more
    tokens. Methods that delegate nothing are left out, because they never learned to call.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E88 if there is no calibration curve.
    """
    study = read_study(folder, where)
    rows = study.curve("calibration")
    rows = rows[~rows["method"].isin(study.plain)]
    if rows.empty:
        raise LacyError("E88", what="no calibration curve of a method that calls", where=folder)
    rows = rows.assign(
        bin=(rows["x"] * BINS).clip(0, BINS - 1).astype(int),
        x=rows["x"] * rows["n"],
        y=rows["y"] * rows["n"],
    )
    description = "Share of value starts against p(CALL); on the dashed line a model is calibrated."
    with figure_panels(file, len(study.groups), description, height=4.6) as panels:
        for axes, group in zip(panels, study.groups, strict=True):
            draw_diagonal(axes)
            for key in study.members(*group):
                method_rows = rows[_is_method(rows, key)]
                if len(method_rows):
                    sums = method_rows.groupby("bin")[["x", "y", "n"]].sum().query("n > 0")
                    x, y, tokens = sums["x"] / sums["n"], sums["y"] / sums["n"], sums["n"]
                    style = SeriesStyle(study.methods.index(key[2]))
                    draw_bins(axes, x, y, tokens, key[2], style)
            axes.set(
                xlabel="p(CALL) that the model gives",
                ylabel="share of value starts",
                title=study.panel_title(group),
            )
    return description


def _is_method(rows: Any, key: Key) -> Any:
    return (rows["size"] == key[0]) & (rows["equal"] == key[1]) & (rows["method"] == key[2])


def turnover(folder: str | Path, file: Output, *, where: Where = None) -> str:
    """Draw how much of the selection changes during training: mean and range over seeds.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E88 if there is no turnover curve.
    """
    study = read_study(folder, where)
    rows = study.curve("turnover")
    description = (
        "Share of the delegated tokens that changed, by training step; bands span the seeds."
    )
    with figure_panels(file, len(study.groups), description) as panels:
        for axes, group in zip(panels, study.groups, strict=True):
            for key in study.members(*group):
                method_rows = rows[_is_method(rows, key)]
                if len(method_rows):
                    _band(axes, method_rows, key[2], SeriesStyle(study.methods.index(key[2])))
            axes.set_ylim(bottom=0)
            title = study.panel_title(group)
            axes.set(xlabel="training step", ylabel="selection that changed, %", title=title)
    return description


def _band(axes: Any, rows: Any, method: str, style: SeriesStyle) -> None:
    """Draw the mean and range over seeds by step, merged to at most ``STEPS`` points."""
    steps = sorted(rows["x"].unique())
    width = -(-len(steps) // STEPS)
    bin_of = {step: i // width for i, step in enumerate(steps)}
    points = rows.assign(y=100 * rows["y"], bin=rows["x"].map(bin_of))
    points = points.groupby(["bin", "seed"])[["x", "y"]].mean().groupby("bin")
    x, y = points["x"].mean(), points["y"].mean()
    axes.fill_between(
        x, points["y"].min(), points["y"].max(), color=style.colour, alpha=0.16, linewidth=0
    )
    axes.plot(x, y, color=style.colour, linestyle=style.dash, label=method)


def sweep(
    folder: str | Path,
    file: Output,
    x: str,
    metrics: Sequence[str],
    group: str = "",
    *,
    condition: str = "",
    where: Where = None,
) -> str:
    """Draw metrics against a training setting: a panel per metric, a point per seed, mean lines.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        x: the setting, a column of runs.csv.
        metrics: the metrics, such as ``facts_right`` or ``closed_book_recall``.
        group: a column of runs.csv; one line per value.
        condition: the condition, for metrics of answers. "own" takes the budget that equals the
            ``call_rate`` of each run. By default, the condition at the common call rate.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E87 if runs.csv lacks a column, or if several runs fall on one point; E88 if a
            metric was not measured.
    """
    study = read_study(folder, where)
    points_of = {metric: sweep_points(study, metric, x, group, condition) for metric in metrics}
    # All panels share this order, so a group has the same colour even where others are missing.
    groups = list(dict.fromkeys(point.group for points in points_of.values() for point in points))
    equals = list(dict.fromkeys(equal for _, equal in study.groups))
    labels = ", ".join(metric_of(metric).label for metric in metrics)
    description = f"{labels} against {axis_name(x)}; a point per seed."
    description = description[0].upper() + description[1:]
    columns = len(metrics) if len(equals) > 1 or len(metrics) == 3 else 2
    with figure_panels(
        file, len(equals) * len(metrics), description, columns=min(3, columns)
    ) as panels:
        panel_keys = [(equal, metric) for equal in equals for metric in metrics]
        for axes, (equal, metric) in zip(panels, panel_keys, strict=True):
            metric_info = metric_of(metric)
            scales = (100 if x == "call_rate" else 1, 100 if metric_info.unit == "share" else 1)
            _lines(axes, points_of[metric], scales, equal, group, groups)
            axes.set_ylabel(metric_info.axis_label)
            if x == "parameters":
                _millions(axes, [point.x for point in points_of[metric]])
            axes.set_xlabel("trained call rate, %" if x == "call_rate" else axis_name(x))
            if len(equals) > 1:
                axes.set_title(EQUAL.get(equal, equal))
    return description


def _millions(axes: Any, values: Sequence[float]) -> None:
    """Make the x axis logarithmic, with a tick such as "3.2M" at each model size."""
    sizes = sorted(set(values))
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size / 1e6:.2g}M" for size in sizes], minor=False)
    axes.set_xticks([], minor=True)


def axis_name(setting: str) -> str:
    """Return the name of a setting as an axis shows it."""
    return setting.replace("_", " ")


def _lines(
    axes: Any,
    points: Sequence[SweepPoint],
    scales: tuple[int, int],
    equal: str,
    group: str,
    names: Sequence[str],
) -> None:
    """Draw a line of means for each group, and a dot for each seed beside it."""
    values = list(dict.fromkeys(point.x for point in points))
    texts = [value for value in values if isinstance(value, str)]
    position = {value: i for i, value in enumerate(values)} if texts else {v: v for v in values}
    x_scale, y_scale = (1 if texts else scales[0]), scales[1]
    # Dots are shifted to the right of the line, more for each group, so that they do not overlap.
    step = 0.014 * x_scale * (max(position.values()) - min(position.values()) or 1)
    for i, name in enumerate(names):
        style, shift = SeriesStyle(i), step * (i + 1.3)
        by_x: dict[float, list[float]] = {}
        for point in points:
            if point.group == name and point.equal == equal:
                by_x.setdefault(x_scale * position[point.x], []).append(y_scale * point.y)
        dots = [(x + shift, y) for x, ys in by_x.items() if len(ys) > 1 for y in ys]
        if dots:
            axes.scatter(
                *zip(*dots, strict=True), s=14, color=style.colour, alpha=0.4, linewidths=0
            )
        line = sorted((x, math.fsum(ys) / len(ys)) for x, ys in by_x.items())
        label = f"{axis_name(group)}: {name}" if group and name else None
        axes.plot(
            *(zip(*line, strict=True) if line else ([], [])),
            color=style.colour, marker=style.marker, linestyle=style.dash, label=label,
        )  # fmt: skip
    if texts:
        axes.set_xticks(range(len(values)), [str(value) for value in values])
    axes.margins(x=0.06, y=0.1)


def freed_bits(
    folder: str | Path, file: Output, group: str = "size", *, where: Where = None
) -> str:
    """Draw stored bits and closed-book recall against the trained call rate, by size.

    Models that delegate nothing are drawn at a call rate of 0.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        group: a column of runs.csv; one line per value.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E87, E88, as for ``sweep``.
    """
    metrics = ["stored_bits", "closed_book_recall"]
    return sweep(folder, file, "call_rate", metrics, group, where=where)


STUDY_FIGURES: dict[str, Callable[..., str]] = {
    "methods": methods,
    "frontier": frontier,
    "calibration": calibration,
    "sweep": sweep,
    "turnover": turnover,
    "freed_bits": freed_bits,
}
"""The figures of a study by name."""
