"""Figures of a study: calibration, sweeps over settings, turnover of the selection, freed bits.

Those of methods and conditions, ``frontier`` and ``methods``, are in ``frontier.py``.

Each function reads the study's folder, writes one file and returns a description (the text for
readers who cannot see it). If its data were not measured, it raises E88.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.evaluate import BINS, metric_of
from lacy.report.frontier import frontier, methods
from lacy.report.study_files import EQUAL, Key, read_study
from lacy.report.svg import Output, SeriesStyle, draw_bins, draw_diagonal, sheet
from lacy.report.sweep import SweepPoint, sweep_points

STEPS = 60
"""Maximum number of points of a curve over training."""
Where = Mapping[str, str] | None


def calibration(folder: str | Path, file: Output, *, where: Where = None) -> str:
    """Draw the share of value starts against p(CALL), a line per method.

    Bins of several seeds are merged, weighted by their tokens; larger markers stand for more
    tokens. Methods that delegate nothing never learned to call and are left out.

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
    what = "Share of value starts against p(CALL); on the dashed line a model is calibrated."
    with sheet(file, len(study.groups), what, height=4.6) as panels:
        for axes, group in zip(panels, study.groups, strict=True):
            draw_diagonal(axes)
            for key in study.members(*group):
                mine = rows[_of(rows, key)]
                if len(mine):
                    sums = mine.groupby("bin")[["x", "y", "n"]].sum().query("n > 0")
                    x, y, tokens = sums["x"] / sums["n"], sums["y"] / sums["n"], sums["n"]
                    style = SeriesStyle(study.methods.index(key[2]))
                    draw_bins(axes, x, y, tokens, key[2], style)
            axes.set(
                xlabel="p(CALL) that the model gives",
                ylabel="share of value starts",
                title=study.panel_title(group),
            )
    return what


def _of(rows: Any, key: Key) -> Any:
    return (rows["size"] == key[0]) & (rows["equal"] == key[1]) & (rows["method"] == key[2])


def turnover(folder: str | Path, file: Output, *, where: Where = None) -> str:
    """Draw how much of the selection changes by training step: mean and range over seeds.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E88 if there is no such curve.
    """
    study = read_study(folder, where)
    rows = study.curve("turnover")
    what = "Share of the delegated tokens that changed, by training step; bands span the seeds."
    with sheet(file, len(study.groups), what) as panels:
        for axes, group in zip(panels, study.groups, strict=True):
            for key in study.members(*group):
                mine = rows[_of(rows, key)]
                if len(mine):
                    _band(axes, mine, key[2], SeriesStyle(study.methods.index(key[2])))
            axes.set_ylim(bottom=0)
            title = study.panel_title(group)
            axes.set(xlabel="training step", ylabel="selection that changed, %", title=title)
    return what


def _band(axes: Any, rows: Any, method: str, style: SeriesStyle) -> None:
    """Draw mean and range over seeds at each step; neighbouring steps are merged."""
    steps = sorted(rows["x"].unique())
    width = -(-len(steps) // STEPS)
    place = {step: i // width for i, step in enumerate(steps)}
    each = rows.assign(y=100 * rows["y"], place=rows["x"].map(place))
    each = each.groupby(["place", "seed"])[["x", "y"]].mean().groupby("place")
    x, y = each["x"].mean(), each["y"].mean()
    axes.fill_between(
        x, each["y"].min(), each["y"].max(), color=style.colour, alpha=0.16, linewidth=0
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
    """Draw metrics against a training setting: small panels, a point per seed, a line of means.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        x: the setting, a column of runs.csv.
        metrics: one panel each, such as ``facts_right`` or ``closed_book_recall``.
        group: a column of runs.csv; one line per value.
        condition: the condition, for metrics of answers; "own" is the budget that equals a run's
            own ``call_rate``. By default the common rate.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E87 for a column that runs.csv does not have, or if several runs fall on one
            point; E88 if a metric was not measured.
    """
    study = read_study(folder, where)
    found = {metric: sweep_points(study, metric, x, group, condition) for metric in metrics}
    # One order for all panels: a group has the same colour even if a panel lacks another group.
    groups = list(dict.fromkeys(point.group for points in found.values() for point in points))
    equals = list(dict.fromkeys(equal for _, equal in study.groups))
    labels = ", ".join(metric_of(metric).label for metric in metrics)
    what = f"{labels} against {axis_name(x)}; a point per seed."
    what = what[0].upper() + what[1:]
    columns = len(metrics) if len(equals) > 1 or len(metrics) == 3 else 2
    with sheet(file, len(equals) * len(metrics), what, columns=min(3, columns)) as panels:
        places = [(equal, metric) for equal in equals for metric in metrics]
        for axes, (equal, metric) in zip(panels, places, strict=True):
            shown = metric_of(metric)
            scales = (100 if x == "call_rate" else 1, 100 if shown.unit == "share" else 1)
            _lines(axes, found[metric], scales, equal, group, groups)
            unit = {"share": "%", "AUROC": ""}.get(shown.shown_unit, shown.shown_unit)
            axes.set_ylabel(shown.label + (f", {unit}" if unit else ""))
            if x == "parameters":
                _millions(axes, [point.x for point in found[metric]])
            axes.set_xlabel("trained call rate, %" if x == "call_rate" else axis_name(x))
            if len(equals) > 1:
                axes.set_title(EQUAL.get(equal, equal))
    return what


def _millions(axes: Any, values: Sequence[float]) -> None:
    """Show sizes on a logarithmic axis, each with its name."""
    sizes = sorted(set(values))
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size / 1e6:.2g}M" for size in sizes], minor=False)
    axes.set_xticks([], minor=True)


def axis_name(setting: str) -> str:
    """Return a setting's name for an axis."""
    return setting.replace("_", " ")


def _lines(
    axes: Any,
    points: Sequence[SweepPoint],
    scales: tuple[int, int],
    equal: str,
    group: str,
    names: Sequence[str],
) -> None:
    """Draw a line of means for each group, with a dot for each seed."""
    values = list(dict.fromkeys(point.x for point in points))
    texts = [value for value in values if isinstance(value, str)]
    place = {value: i for i, value in enumerate(values)} if texts else {v: v for v in values}
    x_scale, y_scale = (1 if texts else scales[0]), scales[1]
    step = 0.014 * x_scale * (max(place.values()) - min(place.values()) or 1)
    for i, name in enumerate(names):
        style, shift = SeriesStyle(i), step * (i + 1.3)
        by_x: dict[float, list[float]] = {}
        for point in points:
            if point.group == name and point.equal == equal:
                by_x.setdefault(x_scale * place[point.x], []).append(y_scale * point.y)
        dots = [(at + shift, y) for at, ys in by_x.items() if len(ys) > 1 for y in ys]
        if dots:
            axes.scatter(
                *zip(*dots, strict=True), s=14, color=style.colour, alpha=0.4, linewidths=0
            )
        line = sorted((at, math.fsum(ys) / len(ys)) for at, ys in by_x.items())
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

    A model that delegates nothing stands at a call rate of 0.

    Args:
        folder: the study's folder.
        file: the ``.svg`` file to write.
        group: a column of runs.csv; one line per value.
        where: use only runs with these values, as in ``read_study``.

    Raises:
        LacyError: E87, E88 as ``sweep``.
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
