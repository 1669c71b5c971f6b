"""A self-contained HTML page of results.

The page has no scripts, network requests or external fonts, so it will still open in ten years.
The template engine escapes everything that comes from texts, models or sources; only figures drawn
by ``svg`` are inserted unescaped. In addition, a content security policy forbids scripts and
requests.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lacy.evaluate import Verdict
from lacy.report.passages import PassagePart, passage_parts
from lacy.report.svg import CONTROLS
from lacy.results import Result, Score
from lacy.run import write_atomic
from lacy.types import Answer

TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("design.css", "report.css")
"""Style sheets of the page; the server's page uses the first one too."""


@dataclass(frozen=True, slots=True)
class Headline:
    """A score at the top of the page, beside the score of the baseline."""

    label: str
    score: Score
    note: str = ""
    before: Score | None = None
    """The score of the baseline."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row of a table."""

    name: str
    cells: Sequence[Score | str | None]
    """Scores or short texts; None for an empty cell."""
    note: str = ""
    strong: bool = False
    """True if the row is shown in bold."""


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table of scores with their intervals."""

    title: str
    columns: Sequence[str]
    """Headers of the columns after the row names."""
    rows: Sequence[TableRow]
    note: str = ""
    folded: bool = False
    """True if the table is collapsed until the reader opens it."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A generated text, coloured by speaker; ``verdicts`` come from ``facts.grade``."""

    title: str
    answer: Answer
    verdicts: Sequence[Verdict] = ()
    note: str = ""

    @property
    def parts(self) -> list[PassagePart]:
        """The text split by speaker and verdict."""
        return passage_parts(self.answer, self.verdicts)

    @property
    def tally(self) -> str:
        """Number of right and wrong facts, or "" if the text was not judged."""
        right = sum(verdict.right for verdict in self.verdicts)
        wrong = len(self.verdicts) - right
        return f"{right} right, {wrong} wrong" if self.verdicts else ""


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A plot. ``svg`` is inserted unescaped, so it must come from ``svg.inline``."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class NextStep:
    """A command to try next, and what it does."""

    command: str
    why: str


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """The contents of a page in the order in which they appear; empty parts are left out."""

    title: str
    lede: str = ""
    headlines: Sequence[Headline] = ()
    side_by_side: Sequence[Passage] = ()
    """The same text under several conditions, side by side."""
    tables: Sequence[PageTable] = ()
    figures: Sequence[PageFigure] = ()
    passages: Sequence[Passage] = ()
    """More texts, collapsed."""
    training: Sequence[PageFigure] = ()
    setup: Mapping[str, str] = field(default_factory=dict)
    """What is needed to reproduce the page: versions, device, seeds and times."""
    notes: Sequence[str] = ()
    next: Sequence[NextStep] = ()


def format_figure(value: float, unit: str = "share", *, bare: bool = False) -> str:
    """Format a number: percent to one decimal, AUROC to three, others to three digits.

    Args:
        value: the number; NaN and infinities become a dash.
        unit: its unit.
        bare: True to leave out the percent sign.
    """
    if not math.isfinite(value):
        return "–"
    if unit == "share":
        return f"{100 * value:.1f}" + ("" if bare else "%")
    if unit == "AUROC":
        return f"{value:.3f}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def format_interval(score: Score | Result) -> str:
    """Format the 95% interval, or return "" if there is none."""
    if not (math.isfinite(score.low) and math.isfinite(score.high)):
        return ""
    low, high = (format_figure(v, score.unit, bare=True) for v in (score.low, score.high))
    return f"{low} to {high}"


def format_score(score: Score | Result | None) -> str:
    """Format a score with its interval, such as ``97.8% [96.9-98.5]``; a dash if undefined."""
    if score is None or not math.isfinite(score.value):
        return "–"
    text = format_figure(score.value, score.unit)
    limits = format_interval(score)
    limits = limits.replace(" to ", ", " if "-" in limits else "-")  # [-18.8, -9.6], not -18.8--9.6
    return f"{text} [{limits}]" if limits else text


def bar_variables(score: Score) -> str:
    """Return the CSS variables of a score's bar; "" unless it is a share or AUROC, from 0 to 1."""
    if score.unit not in ("share", "AUROC") or not math.isfinite(score.value):
        return ""
    low, high = (v if math.isfinite(v) else score.value for v in (score.low, score.high))
    return "; ".join(
        f"--{name}: {100 * min(1.0, max(0.0, v)):.1f}%"
        for name, v in (("low", low), ("high", high), ("value", score.value))
    )


def render_html(data: HtmlPage) -> str:
    """Return the page as HTML; the same data give the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=format_figure, interval=format_interval, bar=bar_variables)
    environment.tests["score"] = lambda value: isinstance(value, Score)
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in STYLES)
    page = environment.get_template("report.html.j2").render(data=data, style=style)
    return CONTROLS.sub("\ufffd", page)


def write_html(path: str | Path, page: HtmlPage) -> None:
    """Write the page as one file, atomically.

    Args:
        path: the HTML file.
        page: the contents of the page.
    """
    write_atomic(path, render_html(page))
