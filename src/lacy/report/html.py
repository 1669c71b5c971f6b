"""One self-contained page that shows what was measured and lets the reader check it.

No scripts, no requests, no fonts to fetch: the page opens from a disk in ten years. Everything
that comes from texts, models or sources is escaped by the template engine; only figures drawn by
``curves`` are inserted as they are. A content policy in the page's head forbids the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lacy.evaluate import Result, Score, Verdict
from lacy.report.passages import PassagePart, passage_parts
from lacy.report.svg import CONTROLS
from lacy.run import write_atomic
from lacy.types import Answer

TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("design.css", "report.css")
"""The first is also that of the server's page."""


@dataclass(frozen=True, slots=True)
class Headline:
    """A figure on top of the page, beside what it is held against."""

    label: str
    score: Score
    note: str = ""
    before: Score | None = None
    """The same figure of the baseline."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of a table; ``cells`` are scores, or short texts."""

    name: str
    cells: Sequence[Score | str | None]
    note: str = ""
    strong: bool = False


@dataclass(frozen=True, slots=True)
class PageTable:
    """Figures with their intervals; ``columns`` name the cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[TableRow]
    note: str = ""
    folded: bool = False
    """Whether it stays closed until the reader opens it."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A generated text to read, coloured by who spoke; ``verdicts`` come from ``facts.grade``."""

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
        """Facts right and wrong, where the text was judged."""
        right = sum(verdict.right for verdict in self.verdicts)
        wrong = len(self.verdicts) - right
        return f"{right} right, {wrong} wrong" if self.verdicts else ""


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A plot. ``svg`` is inserted as it is: give only what ``curves`` drew."""

    title: str
    svg: str
    caption: str = ""


@dataclass(frozen=True, slots=True)
class NextStep:
    """What to try next: a line to type and what it does."""

    command: str
    why: str


@dataclass(frozen=True, slots=True)
class HtmlPage:
    """Everything a page shows, in its order; empty parts are left out."""

    title: str
    lede: str = ""
    headlines: Sequence[Headline] = ()
    voices: Sequence[Passage] = ()
    """The same text in several ways, shown together."""
    tables: Sequence[PageTable] = ()
    figures: Sequence[PageFigure] = ()
    passages: Sequence[Passage] = ()
    """More texts, folded."""
    training: Sequence[PageFigure] = ()
    setup: Mapping[str, str] = field(default_factory=dict)
    """Versions, device, seeds, times: what is needed to get the same page again."""
    notes: Sequence[str] = ()
    next: Sequence[NextStep] = ()


def format_value(value: float, unit: str = "share", *, bare: bool = False) -> str:
    """A figure for people: percent to one decimal, AUROC to three, others to three digits.

    Args:
        value: the figure; NaN and infinities become a dash.
        unit: its unit.
        bare: leave the percent sign out.
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


def interval(score: Score | Result) -> str:
    """The 95% interval in words, or an empty text where there is none."""
    if not (math.isfinite(score.low) and math.isfinite(score.high)):
        return ""
    low, high = (format_value(v, score.unit, bare=True) for v in (score.low, score.high))
    return f"{low} to {high}"


def format_score(score: Score | Result | None) -> str:
    """A figure with its interval, such as ``97.8% [96.9-98.5]``; a dash if there is none."""
    if score is None or not math.isfinite(score.value):
        return "–"
    text = format_value(score.value, score.unit)
    limits = interval(score).replace(" to ", "-")
    return f"{text} [{limits}]" if limits else text


def bar(score: Score) -> str:
    """Position of a share or AUROC and its interval on a track from 0 to 1, as CSS variables."""
    if score.unit not in ("share", "AUROC") or not math.isfinite(score.value):
        return ""
    low, high = (v if math.isfinite(v) else score.value for v in (score.low, score.high))
    return "; ".join(
        f"--{name}: {100 * min(1.0, max(0.0, v)):.1f}%"
        for name, v in (("low", low), ("high", high), ("value", score.value))
    )


def render(data: HtmlPage) -> str:
    """The page as HTML text; the same data give the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=format_value, interval=interval, bar=bar)
    environment.tests["score"] = lambda value: isinstance(value, Score)
    style = "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in STYLES)
    page = environment.get_template("report.html.j2").render(data=data, style=style)
    return CONTROLS.sub("\ufffd", page)


def write_html(path: str | Path, page: HtmlPage) -> None:
    """Writes the page as one file, whole or not at all.

    Args:
        path: of the HTML file.
        page: what to show.
    """
    write_atomic(path, render(page))
