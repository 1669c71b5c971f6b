"""Plots as SVG text: quality against cost, calibration, training.

Drawn by matplotlib without its global state (no pyplot, no changed defaults), the same bytes for
the same data, and in the page's own colours: a figure is drawn with placeholder colours that
become CSS variables, so that one file reads well in light and dark. Each variable carries a
fallback, so an SVG saved on its own shows too.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lacy.evaluate.calls import Bin
from lacy.evaluate.statistics import Score

COLOURS = {
    "ink": ("#010101", "#1d2530"),
    "muted": ("#020202", "#667085"),
    "grid": ("#030303", "#e3e6ea"),
    "series-1": ("#040404", "#0f766e"),
    "series-2": ("#050505", "#4f5bd5"),
    "series-3": ("#060606", "#b45309"),
    "series-4": ("#070707", "#be3455"),
    "series-5": ("#080808", "#667085"),
}
"""CSS variable -> (placeholder that matplotlib draws, colour of a figure on its own)."""

CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that HTML and SVG forbid; they become the replacement character."""

MARKERS = "osD^v"
FONT = "font-family: var(--sans, system-ui, sans-serif)"


@dataclass(frozen=True, slots=True)
class Point:
    """One condition: what it costs and what it gives."""

    call_rate: Score
    quality: Score
    label: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A series of a plot: x and y, and a name for the legend."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def quality_cost(
    series: Mapping[str, Sequence[Point]],
    *,
    quality: str = "facts right",
    name: str = "quality-cost",
) -> str:
    """Facts right (or another share) against the share of tokens that were asked for.

    Args:
        series: name of a model and policy -> its points; drawn in the order of cost.
        quality: what the y axis shows.
        name: letters and dashes that tell the figures of one page apart.

    Returns:
        An ``<svg>`` element; bars are 95% intervals.
    """

    def draw(axes: Any) -> None:
        for i, (who, points) in enumerate(series.items()):
            ordered = sorted(points, key=lambda point: point.call_rate.value)
            x, y = ([100 * getattr(p, s).value for p in ordered] for s in ("call_rate", "quality"))
            axes.plot(x, y, marker=MARKERS[i % 5], color=_series(i), label=who, zorder=3)
            for point in ordered:
                low, high = (100 * point.quality.low, 100 * point.quality.high)
                axes.plot(
                    [100 * point.call_rate.value] * 2, [low, high], color=_series(i), alpha=0.4
                )
                if point.label:
                    axes.annotate(
                        point.label,
                        (100 * point.call_rate.value, 100 * point.quality.value),
                        textcoords="offset points",
                        xytext=(7, -12),
                        color=_drawn("muted"),
                        fontsize=9,
                    ).set_in_layout(False)
        axes.set_ylim(-4, 104)
        axes.margins(x=0.14)
        axes.set_xlabel("share of tokens asked for, %")
        axes.set_ylabel(f"{quality}, %")
        _legend(axes)

    return _svg(draw, name, f"{quality} against the share of tokens asked for")


def calibration(series: Mapping[str, Sequence[Bin]], *, name: str = "calibration") -> str:
    """How often a token tells a fact where the model says it does (on the diagonal: calibrated).

    Args:
        series: name of a model -> the bins of ``calls.calibration``.
        name: letters and dashes that tell the figures of one page apart.
    """

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=_drawn("muted"), linewidth=1, linestyle=(0, (4, 4)))
        for i, (who, bins) in enumerate(series.items()):
            x, y = [b.predicted for b in bins], [b.observed for b in bins]
            total = max(1, sum(b.tokens for b in bins))
            sizes = [10 + 160 * (b.tokens / total) ** 0.5 for b in bins]
            axes.plot(x, y, color=_series(i), linewidth=1.2, alpha=0.6)
            axes.scatter(x, y, s=sizes, color=_series(i), label=who, zorder=3, linewidths=0)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("p(CALL) that the model gives")
        axes.set_ylabel("share of fact tokens")
        _legend(axes)

    return _svg(draw, name, "share of fact tokens by p(CALL)")


def lines(
    series: Sequence[Line], *, x_label: str, y_label: str, name: str = "lines", log_y: bool = False
) -> str:
    """Plain curves, such as training losses.

    Args:
        series: the curves.
        x_label: of the horizontal axis, with its unit.
        y_label: of the vertical axis, with its unit.
        name: letters and dashes that tell the figures of one page apart.
        log_y: draw the vertical axis in logarithms.
    """

    def draw(axes: Any) -> None:
        for i, line in enumerate(series):
            axes.plot(line.x, line.y, color=_series(i), label=line.name)
        if log_y:
            axes.set_yscale("log")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        _legend(axes)

    return _svg(draw, name, f"{y_label} by {x_label}")


def _drawn(name: str) -> str:
    return COLOURS[name][0]


def _series(i: int) -> str:
    return _drawn(f"series-{i % 5 + 1}")


def _legend(axes: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=_drawn("ink"), fontsize=10, handlelength=1.6)


def _svg(draw: Callable[[Any], None], name: str, description: str) -> str:
    """Draws one figure; the only place that touches matplotlib."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "font.size": 11,
        "lines.linewidth": 2.0,
        "lines.markersize": 6.5,
        "axes.edgecolor": _drawn("muted"),
        "axes.labelcolor": _drawn("muted"),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": _drawn("grid"),
        "text.color": _drawn("ink"),
        "text.parse_math": False,
        "xtick.color": _drawn("muted"),
        "ytick.color": _drawn("muted"),
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(6.0, 4.0), layout="constrained")
        figure.patch.set_visible(False)
        canvas = FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        axes.set_axisbelow(True)
        axes.tick_params(length=0)
        draw(axes)
        buffer = io.StringIO()
        with warnings.catch_warnings():
            # The page's font draws the text; matplotlib's own need not have every letter.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            canvas.print_svg(
                buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
            )
    return _for_page(buffer.getvalue(), name, description)


def _for_page(svg: str, name: str, description: str) -> str:
    """Makes an SVG file a part of a page: own ids, the page's colours and font, a description."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    for variable, (drawn, alone) in COLOURS.items():
        svg = re.sub(drawn + r"\b", f"var(--{variable}, {alone})", svg)
    svg = re.sub(r"font-family: [^;\"]*", FONT, svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", rf"font-size: \1; {FONT}", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    size = re.search(r'viewBox="([^"]*)"', svg)
    box = size.group(1) if size else "0 0 432 288"
    opening = (
        f'<svg viewBox="{box}" role="img" aria-label="{html.escape(description)}"'
        ' style="stroke-linejoin: round; stroke-linecap: butt"'
        ' xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return CONTROLS.sub("\ufffd", re.sub(r"<svg\b[^>]*>", lambda _: opening, svg, count=1))
