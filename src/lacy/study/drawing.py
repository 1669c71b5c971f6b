"""How figures of a study look: one sheet of panels, saved as a small SVG that stays the same.

Drawn by matplotlib without its global state; the same data give the same bytes. Colours are those
of Okabe and Ito, told apart by colour-blind readers too, and every series has a marker of its own.
The background is white, so that a figure reads alike on a light and a dark page.
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

from lacy.evaluate import CONTROLS
from lacy.run import write_atomic
from lacy.study.reading import EQUAL, Study, need

COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1d2530", "#8a8f98",
    "#882255", "#999933", "#332288", "#7a4b1e", "#b7a9d9",
)  # fmt: skip
"""Okabe and Ito's without the yellow, grey, and five more for studies of many methods."""
MARKERS = "osD^vPX*"
HOLLOW = "os^Dv<>p*PXd8h"
"""Markers of conditions that have a name instead of a budget."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
INK, MUTED, GRID = "#1d2530", "#5a6472", "#e3e6ea"
WIDTH = 7.5
"""Inches; 720 px where it is shown in its own size."""
FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
ROOM = 92
"""Letters that fit into one line of a legend."""
STYLE: dict[str, Any] = {
    "svg.hashsalt": "lacy",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}


@dataclass(frozen=True, slots=True)
class Pen:
    """Colour, marker and dash of the i-th series; ``dash`` tells variants of one series apart."""

    number: int
    variant: int = 0

    @property
    def colour(self) -> str:
        """After the last, colours come again with another dash."""
        return COLOURS[self.number % len(COLOURS)]

    @property
    def marker(self) -> str:
        """Goes with the colour."""
        return MARKERS[self.number % len(MARKERS)]

    @property
    def dash(self) -> Any:
        """Solid for the first variant."""
        return DASHES[(self.variant + self.number // len(COLOURS)) % len(DASHES)]


@contextmanager
def sheet(
    file: str | Path, panels: int, description: str, *, columns: int = 2, height: float = 4.0
) -> Iterator[list[Any]]:
    """Gives axes to draw on, then adds one legend below them and writes the file.

    Args:
        file: ``.svg``, or ``.png`` to look at.
        panels: how many axes.
        description: what the figure shows, for those who cannot see it.
        columns: of panels at most.
        height: inches of a single panel; of several, each row is a little lower.
    """
    matplotlib = need("matplotlib")
    figures = need("matplotlib.figure")
    columns = min(columns, panels)
    rows = -(-panels // columns)
    tall = height if rows == 1 and columns == 1 else 0.3 + rows * height * 0.76
    with matplotlib.rc_context(STYLE):
        figure = figures.Figure(figsize=(WIDTH, tall), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.06, wspace=0.03, hspace=0.03)
        axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
        yield axes
        _legend(figure, axes)
        _save(figure, Path(file), description)


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """One legend for all panels; every name once, in as many columns as fit."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    longest = max(map(len, found)) + 7
    columns = max(1, min(len(found), ROOM // longest))
    lines = -(-len(found) // columns)
    columns = -(-len(found) // lines)
    width, tall = figure.get_size_inches()
    figure.set_size_inches(width, tall + 0.22 * lines)
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=columns,
        handlelength=3.2, columnspacing=1.6,
    )  # fmt: skip


def _save(figure: Any, file: Path, description: str) -> None:
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
    write_atomic(file, _tidy(buffer.getvalue(), description))


def _tidy(svg: str, description: str) -> str:
    """Smaller and named: no metadata, short numbers, the reader's font, a description."""
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
    """Makes a saved figure a part of a page: own ids, and the page's colours for text and grid.

    Args:
        svg: what ``sheet`` wrote.
        name: letters and dashes that tell the figures of one page apart.
    """
    svg = re.sub(r"<style\b.*?</style>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{name}-", svg)
    svg = re.sub(r"fill: #ffffff", "fill: none", svg)
    for colour, variable in ((INK, "ink"), (MUTED, "muted"), (GRID, "grid")):
        svg = svg.replace(colour, f"var(--{variable}, {colour})")
    opening = re.sub(r' (width|height)="[^"]*pt"', "", svg[: svg.index(">")])
    style = f"stroke-linejoin: round; max-width: 45rem; font-family: var(--sans, {FONT})"
    opening = re.sub(r'style="[^"]*"', f'style="{style}"', opening, count=1)
    return opening + svg[svg.index(">") :]


def titles(axes: Any, group: tuple[str, str], study: Study, x: str, y: str) -> None:
    """Names the axes and, where there are several panels, what stands in this one."""
    axes.set_xlabel(x)
    if y:
        axes.set_ylabel(y)
    if len(study.groups) > 1:
        size, equal = group
        rules = {equal for _, equal in study.groups}
        sizes = {size for size, _ in study.groups}
        parts = [size] * (len(sizes) > 1) + [EQUAL.get(equal, equal)] * (len(rules) > 1)
        axes.set_title(", ".join(parts))


def alike(panels: Sequence[Any], axis: str) -> None:
    """Gives all panels the same limits on an axis ("x" or "y"), so that they can be compared."""
    limits = [getattr(axes, f"get_{axis}lim")() for axes in panels]
    for axes in panels:
        getattr(axes, f"set_{axis}lim")(min(low for low, _ in limits), max(h for _, h in limits))
