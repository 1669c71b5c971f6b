"""The page of a simulation of devices: the answer, its figures, and what it depends on."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import yaml

from lacy.config import to_dict
from lacy.edge import EdgeAnswer, Varied, answer_sentences, format_days
from lacy.report.html import (
    HtmlPage,
    NextStep,
    PageFigure,
    PageTable,
    TableRow,
    format_score,
    write_html,
)
from lacy.report.svg import MUTED, Output, SeriesStyle, figure_panels, inline
from lacy.results import CONFIDENCE
from lacy.run import environment


def write_edge_page(path: str | Path, answer: EdgeAnswer) -> None:
    """Write one HTML file with the answer, figures with intervals, and plots.

    Args:
        path: the file.
        answer: what simulations found.
    """
    first, *others = answer_sentences(answer)
    rows = [
        TableRow(name, (format_score(score), "" if score.unit == "share" else score.unit))
        for name, score in answer.figures().items()
    ]
    figures = []
    if any(one.width > 1.0 for one in answer.varied) and math.isfinite(answer.usual_days):
        drawing = io.StringIO()
        caption = tornado_figure(drawing, answer.varied)
        figures.append(PageFigure("What the time depends on", inline(drawing.getvalue(), "t"),
                                  caption))  # fmt: skip
    if any(run.timeline for run in answer.runs):
        drawing = io.StringIO()
        caption = progress_figure(drawing, answer)
        figures.append(PageFigure("Progress", inline(drawing.getvalue(), "p"), caption))
    horizon = answer.assumed.horizon_days
    page = HtmlPage(
        title=f"Can {answer.assumed.population:,} devices train {answer.work.name}?",
        lede=f"{first} {' '.join(others)}",
        tables=[
            PageTable("Figures", ("mean", "unit"), rows,
                      f"Means of {len(answer.finished)} of {len(answer.runs)} simulations, with "
                      f"{CONFIDENCE:.0%} intervals over seeds. Energy is that of the devices."),
            PageTable("One assumption at a time", ("halved", "doubled", "kind"),
                      [TableRow(one.name, (format_days(one.halved, horizon),
                                           format_days(one.doubled, horizon), one.kind))
                       for one in answer.varied],
                      "Days with one assumption halved or doubled, everything else and all random "
                      "numbers equal."),
            PageTable("Rounds of the devices", ("device rounds", ""),
                      [TableRow(name, (f"{answer.runs[0].sums[name]:,.0f}", ""))
                       for name in ("chosen", "merged", "late", "interrupted", "left")],
                      "Of the first simulation.", folded=True),
        ],
        figures=figures,
        setup={
            **{key: _line(value) for key, value in to_dict(answer.assumed).items()},
            "algorithm, in full": _line(to_dict(answer.algorithm)),
            "seeds": ", ".join(str(run.seed) for run in answer.runs),
            "version": str(environment().get("lacy", "")),
        },
        notes=["The loss that a model reaches is not simulated: that the algorithm needs as many "
               "tokens as a synchronous training of equal batches is an assumption."],
        next=[NextStep("lacy federate simulate ASSUMPTIONS --copy-to mine.yaml",
                       "change any assumption")],
    )  # fmt: skip
    write_html(path, page)


def _line(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix("\n...")


def tornado_figure(file: Output, varied: Sequence[Varied]) -> str:
    """Draw the days with each assumption halved and doubled, the largest effect first.

    Args:
        file: the ``.svg`` file to write.
        varied: the effects; infinite days are drawn to the right edge.

    Returns:
        The alternative text.
    """
    usual = varied[0].usual
    shown = [one for one in varied if one.width > 1.01][:12][::-1]
    days = [d for one in shown for d in (one.halved, one.doubled) if math.isfinite(d)]
    most = 2.0 * max([*days, usual])
    description = "Days with one assumption halved or doubled; the line is the unchanged time."
    with figure_panels(file, 1, description, height=0.9 + 0.3 * len(shown)) as [axes]:
        for number, label in enumerate(("halved", "doubled")):
            ends = [min(most, getattr(one, label)) for one in shown]
            style = SeriesStyle(number)
            axes.barh(
                range(len(shown)), [end - usual for end in ends], left=usual, height=0.6,
                color=style.colour, label=label,
            )  # fmt: skip
        axes.axvline(usual, color=MUTED, linewidth=1)
        axes.set_xscale("log")
        for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            axis("{x:g}")
        axes.tick_params(axis="x", which="both", labelsize=8, rotation=45)
        axes.set_yticks(range(len(shown)), [one.name for one in shown])
        axes.set(xlabel="days")
    return description


def progress_figure(file: Output, answer: EdgeAnswer) -> str:
    """Draw the share of the token budget over time, one line per simulation; return the text."""
    description = "Share of the token budget over time, one line per simulation."
    with figure_panels(file, 1, description, height=3.0) as [axes]:
        for number, run in enumerate(answer.runs):
            days, shares = zip(*[(0.0, 0.0), *run.timeline], strict=True)
            style = SeriesStyle(number)
            axes.plot(days, [100 * share for share in shares], color=style.colour,
                      label=f"seed {run.seed}")  # fmt: skip
        axes.axvline(answer.wanted_days, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
        axes.set(xlabel="days", ylabel="tokens, %")
    return description
