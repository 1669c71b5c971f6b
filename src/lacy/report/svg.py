"""Draw all figures in one style, as small SVG files that are reproducible byte by byte.

Matplotlib is used without its global state, so the same data give the same bytes. The colours are
those of Okabe and Ito, which colour-blind readers can tell apart, and every series has its own
marker. A saved figure has a white background, so it is readable on light and dark pages; ``inline``
adapts it to one of our HTML pages and that page's colours.
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
"""Colours of Okabe and Ito without the yellow, then grey, and five more for many methods."""
MARKERS = "osD^vPX*"
"""Matplotlib markers of the series."""
HOLLOW = "os^Dv<>p*PXd8h"
"""Markers of conditions that are not on a line; drawn hollow."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
INK, MUTED, GRID = "#1d2530", "#5a6472", "#e3e6ea"
WIDTH = 7.5
"""Width in inches; 720 px at 96 px per inch."""
Output = str | Path | io.StringIO
"""Where a figure is written: a file, or a buffer."""
CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
"""Characters that are not allowed in HTML and SVG; they are replaced by U+FFFD."""
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
LEGEND_LETTERS = 92
"""Number of letters that fit on one line of a legend."""
STYLE = Path(__file__).parent / "templates" / "figures.mplstyle"


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    """Colour, marker and dash of a series; the variants of a series differ in their dash."""

    number: int
    variant: int = 0

    @property
    def colour(self) -> str:
        """The colour; if there are more series than colours, colours repeat with another dash."""
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
def figure_panels(
    file: Output,
    panels: int,
    description: str,
    *,
    columns: int = 2,
    height: float = 4.0,
) -> Iterator[list[Any]]:
    """Yield axes to draw on; afterwards, add one legend below all panels and write the file.

    Args:
        file: an ``.svg`` or ``.png`` file, or a buffer that receives the SVG.
        panels: number of panels.
        description: alternative text that says what the figure shows.
        columns: maximum number of panels per row.
        height: height in inches of a figure with one panel; rows of several panels are lower.
    """
    matplotlib, figures = require_drawing("matplotlib"), require_drawing("matplotlib.figure")
    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure_height = height if rows == 1 and columns == 1 else 0.3 + rows * height * 0.76
    with matplotlib.rc_context(fname=STYLE):
        figure = figures.Figure(figsize=(WIDTH, figure_height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.03)
        axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
        yield axes
        _legend(figure, axes)
        _save(figure, file, description)


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """Add one legend for all panels, with every name once and as many columns as fit."""
    handles: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if not handles:
        return
    longest = max(map(len, handles)) + 7  # the handle and its gap take as much room as 7 letters
    columns = max(1, min(len(handles), LEGEND_LETTERS // longest))
    lines = -(-len(handles) // columns)
    columns = -(-len(handles) // lines)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.22 * lines)
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=columns,
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
    no_metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with warnings.catch_warnings():
        # The SVG keeps text as text, so the reader's font matters and not matplotlib's.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="svg", metadata=no_metadata)
    svg = _tidy(buffer.getvalue(), description)
    if isinstance(file, io.StringIO):
        file.write(svg)
    else:
        write_atomic(file, svg)


def _tidy(svg: str, description: str) -> str:
    """Shrink an SVG (no metadata, short numbers), add a description, use the reader's fonts."""
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
    start_tag = re.sub(r"\s+", " ", svg[: svg.index(">")])
    rest = svg[svg.index(">") + 1 :]
    style = f'style="font-family: {FONT}" role="img" aria-label="{name}"'
    svg = f"{start_tag} {style}>\n<title>{name}</title>{rest}"
    return CONTROLS.sub("\ufffd", svg)


def inline(svg: str, name: str) -> str:
    """Adapt a saved figure to be embedded in a page: unique ids, and the page's colours.

    Args:
        svg: an SVG that ``figure_panels`` wrote.
        name: unique id of the figure on its page, of letters and dashes.
    """
    svg = re.sub(r"<style\b.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    svg = re.sub(r"fill: #ffffff", "fill: none", svg)
    series = {colour: f"series-{i}" for i, colour in enumerate(SERIES_COLOURS[:5], 1)}
    for colour, variable in {INK: "ink", MUTED: "muted", GRID: "grid", **series}.items():
        svg = svg.replace(colour, f"var(--{variable}, {colour})")
    start_tag = re.sub(r' (width|height)="[^"]*pt"', "", svg[: svg.index(">")])
    style = f"stroke-linejoin: round; max-width: 45rem; font-family: var(--sans, {FONT})"
    start_tag = re.sub(r'style="[^"]*"', f'style="{style}"', start_tag, count=1)
    return start_tag + svg[svg.index(">") :]


def share_limits(panels: Sequence[Any], axis: str) -> None:
    """Set the same limits on an axis ("x" or "y") of all panels, so they can be compared."""
    limits = [getattr(axes, f"get_{axis}lim")() for axes in panels]
    for axes in panels:
        getattr(axes, f"set_{axis}lim")(min(low for low, _ in limits), max(h for _, h in limits))


def draw_bins(axes: Any, x: Any, y: Any, tokens: Any, label: str, style: SeriesStyle) -> None:
    """Draw a calibration curve: one marker per bin, larger for more tokens."""
    # The area grows with the root of the share, so that small bins stay visible.
    areas = 12 + 170 * (tokens / tokens.sum()) ** 0.5
    axes.plot(x, y, color=style.colour, linestyle=style.dash, linewidth=1.3, alpha=0.7)
    axes.scatter(
        x, y, s=areas, color=style.colour, marker=style.marker, alpha=0.85, linewidths=0, zorder=3
    )
    # An empty line for the legend, where all markers should have the same size.
    axes.plot([], [], color=style.colour, marker=style.marker, linestyle=style.dash, label=label)


def draw_diagonal(axes: Any) -> None:
    """Draw the diagonal, on which a model is calibrated, and set the axis limits."""
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
