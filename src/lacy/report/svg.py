"""The one SVG engine and theme of all figures: panels with one legend, small files, equal bytes.

Matplotlib draws without its global state, so the same data give the same bytes. Colours are those
of Okabe and Ito, which colour-blind readers can tell apart, and every series has its own marker.
A saved figure has a white background, so that it reads alike on a light and a dark page;
``inline`` makes it a part of one of our pages, with that page's colours.
"""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy._require import require_package
from lacy.run import write_atomic

SERIES_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1d2530", "#8a8f98",
    "#882255", "#999933", "#332288", "#7a4b1e", "#b7a9d9",
)  # fmt: skip
"""Okabe and Ito's without the yellow, grey, and five more for studies with many methods."""
MARKERS = "osD^vPX*"
HOLLOW = "os^Dv<>p*PXd8h"
"""Markers of conditions that are not points of a budget line."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
INK, MUTED, GRID = "#1d2530", "#5a6472", "#e3e6ea"
WIDTH = 7.5
"""Width in inches, which is 720 px at its own size."""
Output = str | Path | io.StringIO
"""Where a figure goes: a file, or a buffer."""
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that HTML and SVG forbid; they become the replacement character."""
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
LEGEND_LETTERS = 92
"""Number of letters that fit into one line of a legend."""
STYLE = Path(__file__).parent / "templates" / "figures.mplstyle"


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """Colour, marker and dash of the i-th series; ``dash`` distinguishes variants of a series."""

    number: int
    variant: int = 0

    @property
    def colour(self) -> str:
        """The colour; after the last one, colours repeat with another dash."""
        return SERIES_COLOURS[self.number % len(SERIES_COLOURS)]

    @property
    def marker(self) -> str:
        """The marker that belongs to the colour."""
        return MARKERS[self.number % len(MARKERS)]

    @property
    def dash(self) -> Any:
        """The dash: solid for the first variant."""
        return DASHES[(self.variant + self.number // len(SERIES_COLOURS)) % len(DASHES)]


def require_drawing(module: str) -> Any:
    """Import a module that tables and figures need, or raise E11."""
    return require_package(module, "study", "tables and figures")


@contextmanager
def sheet(
    file: Output,
    panels: int,
    description: str,
    *,
    columns: int = 2,
    height: float = 4.0,
) -> Iterator[list[Any]]:
    """Give axes to draw on, then add one legend below them and write the file.

    Args:
        file: ``.svg``, ``.png`` to look at, or a buffer that takes the SVG.
        panels: number of axes.
        description: what the figure shows, for readers who cannot see it.
        columns: most panels in a row.
        height: inches of a single panel; of several, each row is a little lower.
    """
    matplotlib, figures = require_drawing("matplotlib"), require_drawing("matplotlib.figure")
    columns = min(columns, panels)
    rows = -(-panels // columns)
    tall = height if rows == 1 and columns == 1 else 0.3 + rows * height * 0.76
    with matplotlib.rc_context(fname=STYLE):
        figure = figures.Figure(figsize=(WIDTH, tall), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.03)
        axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
        yield axes
        _legend(figure, axes)
        _save(figure, file, description)


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """Add one legend for all panels, every name once, in as many columns as fit."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    longest = max(map(len, found)) + 7
    columns = max(1, min(len(found), LEGEND_LETTERS // longest))
    lines = -(-len(found) // columns)
    columns = -(-len(found) // lines)
    width, tall = figure.get_size_inches()
    figure.set_size_inches(width, tall + 0.22 * lines)
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=columns,
        handlelength=3.2, columnspacing=1.6,
    )  # fmt: skip


def _save(figure: Any, file: Output, description: str) -> None:
    if not isinstance(file, io.StringIO):
        file = Path(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".png":
            figure.savefig(file, dpi=120)
            return
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with warnings.catch_warnings():
        # The reader's font draws the text; matplotlib's own need not have every letter.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="svg", metadata=nothing)
    svg = _tidy(buffer.getvalue(), description)
    if isinstance(file, io.StringIO):
        file.write(svg)
    else:
        write_atomic(file, svg)


def _tidy(svg: str, description: str) -> str:
    """Shrink an SVG and describe it: no metadata, short numbers, the reader's font."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata\b.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r"(\d+\.\d\d)\d+", r"\1", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r'<g id="(?:text|patch|line2d|[xy]tick)_\d+"', "<g", svg)
    svg = re.sub(r"(?m)^ +", "", svg)
    svg = re.sub(r"(<g/>|<g>\n</g>)\n", "", svg)
    name = html.escape(description)
    opening = re.sub(r"\s+", " ", svg[: svg.index(">")])
    rest = svg[svg.index(">") + 1 :]
    style = f'style="font-family: {FONT}" role="img" aria-label="{name}"'
    svg = f"{opening} {style}>\n<title>{name}</title>{rest}"
    return CONTROLS.sub("\ufffd", svg)


def inline(svg: str, name: str) -> str:
    """Make a saved figure a part of a page, with its own ids and the page's colours.

    Args:
        svg: what ``sheet`` wrote.
        name: letters and dashes that distinguish the figures of one page.
    """
    svg = re.sub(r"<style\b.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    svg = re.sub(r"fill: #ffffff", "fill: none", svg)
    series = {colour: f"series-{i}" for i, colour in enumerate(SERIES_COLOURS[:5], 1)}
    for colour, variable in {INK: "ink", MUTED: "muted", GRID: "grid", **series}.items():
        svg = svg.replace(colour, f"var(--{variable}, {colour})")
    opening = re.sub(r' (width|height)="[^"]*pt"', "", svg[: svg.index(">")])
    style = f"stroke-linejoin: round; max-width: 45rem; font-family: var(--sans, {FONT})"
    opening = re.sub(r'style="[^"]*"', f'style="{style}"', opening, count=1)
    return opening + svg[svg.index(">") :]


def share_limits(panels: Sequence[Any], axis: str) -> None:
    """Give all panels the same limits on an axis ("x" or "y"), so that they can be compared."""
    limits = [getattr(axes, f"get_{axis}lim")() for axes in panels]
    for axes in panels:
        getattr(axes, f"set_{axis}lim")(min(low for low, _ in limits), max(h for _, h in limits))


def draw_bins(axes: Any, x: Any, y: Any, tokens: Any, label: str, style: SeriesStyle) -> None:
    """Draw a calibration curve: one marker per bin, larger for more tokens."""
    areas = 12 + 170 * (tokens / tokens.sum()) ** 0.5
    axes.plot(x, y, color=style.colour, linestyle=style.dash, linewidth=1.3, alpha=0.7)
    axes.scatter(
        x, y, s=areas, color=style.colour, marker=style.marker, alpha=0.85, linewidths=0, zorder=3
    )
    # In the legend all markers have one size.
    axes.plot([], [], color=style.colour, marker=style.marker, linestyle=style.dash, label=label)


def draw_diagonal(axes: Any) -> None:
    """Draw the line on which a model is calibrated, and fix the limits around it."""
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
