"""Plots for the page of a world: quality against cost, calibration, training curves."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lacy.evaluate import CalibrationBin
from lacy.report.svg import SeriesStyle, draw_bins, draw_diagonal, figure_panels, inline
from lacy.results import Score


@dataclass(frozen=True, slots=True)
class Curve:
    """A series of a plot; ``name`` is its entry in the legend."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def quality_cost_plot(
    series: Mapping[str, Sequence[tuple[Score, Score]]],
    *,
    quality: str = "facts right",
    name: str = "quality-cost",
) -> str:
    """Draw facts right (or another share) against the call rate.

    Args:
        series: for each model, the call rate and the quality under each condition.
        quality: what the y axis shows.
        name: unique id of the figure on its page, of letters and dashes.

    Returns:
        An ``<svg>`` element with 95% intervals as vertical bars.
    """

    def draw(axes: Any) -> None:
        for i, (model, points) in enumerate(series.items()):
            style = SeriesStyle(i)
            ordered = sorted(points, key=lambda point: point[0].value)
            x = [100 * rate.value for rate, _ in ordered]
            y = [100 * share.value for _, share in ordered]
            axes.plot(x, y, marker=style.marker, color=style.colour, label=model, zorder=3)
            low, high = (
                [100 * getattr(score, end) for _, score in ordered] for end in ("low", "high")
            )
            axes.vlines(x, low, high, color=style.colour, alpha=0.4, linewidth=1.8)
        axes.set_ylim(-4, 104)
        axes.margins(x=0.14)
        axes.set(xlabel="call rate, %", ylabel=f"{quality}, %")

    return _drawn(draw, name, f"{quality} against the call rate")


def calibration_plot(
    series: Mapping[str, Sequence[CalibrationBin]], *, name: str = "calibration"
) -> str:
    """Draw the share of fact tokens against p(CALL); a calibrated model is on the diagonal.

    Args:
        series: for each model, the calibration bins from ``WorldResult.calls``.
        name: unique id of the figure on its page, of letters and dashes.
    """

    def draw(axes: Any) -> None:
        draw_diagonal(axes)
        for i, (model, bins) in enumerate(series.items()):
            x, y, tokens = np.array([(b.predicted, b.observed, b.tokens) for b in bins]).T
            draw_bins(axes, x, y, tokens, model, SeriesStyle(i))
        axes.set(xlabel="p(CALL) that the model gives", ylabel="share of fact tokens")

    return _drawn(draw, name, "share of fact tokens by p(CALL)")


def line_plot(
    series: Sequence[Curve], *, x_label: str, y_label: str, name: str = "lines", log_y: bool = False
) -> str:
    """Draw plain curves, such as training losses.

    Args:
        series: the curves.
        x_label: label of the horizontal axis, with its unit.
        y_label: label of the vertical axis, with its unit.
        name: unique id of the figure on its page, of letters and dashes.
        log_y: use a logarithmic vertical axis.
    """

    def draw(axes: Any) -> None:
        for i, line in enumerate(series):
            axes.plot(line.x, line.y, color=SeriesStyle(i).colour, label=line.name)
        axes.set(xlabel=x_label, ylabel=y_label, yscale="log" if log_y else "linear")

    return _drawn(draw, name, f"{y_label} by {x_label}")


def _drawn(draw: Callable[[Any], None], name: str, description: str) -> str:
    """Draw a figure with one panel, ready to be embedded in a page."""
    buffer = io.StringIO()
    with figure_panels(buffer, 1, description) as (axes,):
        draw(axes)
    return inline(buffer.getvalue(), name)
