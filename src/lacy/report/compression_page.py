"""The page of a compression: one table of all stages, and what is gained and lost as plots."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lacy._text import format_bytes, format_duration
from lacy.compress import Compression, Stage, StageRow, stage_rows
from lacy.report.html import (
    Headline,
    HtmlPage,
    NextStep,
    PageFigure,
    PageTable,
    TableRow,
    format_figure,
    format_score,
    write_html,
)
from lacy.report.scorecard_page import markdown_table
from lacy.report.svg import Output, SeriesStyle, figure_panels, inline
from lacy.results import CONFIDENCE, Score

STAGE_COLUMNS = (
    "size", "smaller than 32 bits", "loss off facts", "loss on facts", "AUROC of calls",
    "facts right with calls", "tokens per second", "peak memory",
)  # fmt: skip
"""Columns of the table of stages."""

OUTPUT_KINDS = ("gguf", "int8", "onnx", "folder")
"""Kinds of stages that are files for a runtime."""


def stage_cells(row: StageRow) -> tuple[str, ...]:
    """Return the cells of a stage, in the order of ``STAGE_COLUMNS``."""
    first = row.kind == "original"
    return (
        f"{row.bytes / 1e6:.1f} MB",
        f"{row.ratio:.1f} x",
        "0" if first else _signed(row.loss_off_facts),
        "0" if first else _signed(row.loss_on_facts),
        _with_change(row.auroc, "" if first else f"{row.auroc_change:+.3f}"),
        _with_change(row.right, "" if first else _points(row.right_change)),
        format_score(row.decode) if row.decode else "–",
        format_bytes(int(row.memory.value))
        if row.memory is not None and math.isfinite(row.memory.value) else "–",
    )  # fmt: skip


def _signed(score: Score) -> str:
    """Format a relative rise with its interval, in percent."""
    if not math.isfinite(score.value):
        return "–"
    value = f"{100 * score.value:+.2f}%"
    if not math.isfinite(score.low):
        return value
    return f"{value} [{100 * score.low:+.2f}, {100 * score.high:+.2f}]"


def _with_change(score: Score | None, change: str) -> str:
    if score is None:
        return "–"
    value = format_figure(score.value, score.unit)
    return f"{value} ({change})" if change else format_score(score)


def _points(score: Score | None) -> str:
    """Format a difference of shares in points."""
    if score is None or not math.isfinite(score.value):
        return ""
    return f"{100 * score.value:+.1f} [{100 * score.low:+.1f}, {100 * score.high:+.1f}] points"


def compression_markdown(done: Compression) -> str:
    """Return the table of stages as Markdown."""
    rows = [(row.name, *stage_cells(row)) for row in stage_rows(done)]
    return markdown_table([("stage", *STAGE_COLUMNS), *rows])


def write_compression_page(path: str | Path, done: Compression) -> None:
    """Write one HTML file with the table of all stages and the plots.

    Args:
        path: the file.
        done: a plan that was carried out.
    """
    rows = stage_rows(done)
    drawing = io.StringIO()
    caption = compression_figure(drawing, rows)
    measure = done.plan["measure"]
    page = HtmlPage(
        title=f"{done.model}, compressed",
        lede=_lede(rows),
        headlines=list(_headlines(rows)),
        tables=[
            PageTable(
                "Stages", STAGE_COLUMNS, [TableRow(row.name, stage_cells(row)) for row in rows],
                "The original, the model after each step, and the files that are written of it. "
                "Losses are per byte of text, relative to the original; differences are in "
                "brackets.",
            ),
            PageTable(
                "What each step did", ("settings", "what it did", "time"),
                [TableRow(s.name, _did(s)) for s in done.stages[1:]], folded=True,
            ),
        ],
        figures=[PageFigure("Size against loss, and what is left", inline(drawing.getvalue(), "c"),
                            caption)],
        setup={
            "texts": f"{done.texts['fit']} for the steps, {done.texts['held_out']} held out",
            "openings": f"{measure['subjects']} subjects of the facts that ship with lacy",
            **{k: str(v) for k, v in done.environment.items() if k != "packages" and v},
            "packages": ", ".join(
                f"{k} {v}" for k, v in done.environment.get("packages", {}).items() if v
            ),
        },
        notes=[
            f"Intervals: {CONFIDENCE:.0%}, by a bootstrap over texts or subjects; differences are "
            "between the same texts and subjects.",
        ],
        next=[NextStep("lacy evaluate FILE --all", "measure a file in full, as a scorecard")],
    )  # fmt: skip
    write_html(path, page)


def compression_figure(file: Output, rows: Sequence[StageRow]) -> str:
    """Draw loss, calls and facts of every stage against the size of its files.

    Args:
        file: the ``.svg`` file to write.
        rows: the stages.

    Returns:
        The alternative text.
    """
    description = "Rise of the loss, AUROC of calls and facts right against the size of the files."
    calls = any(row.auroc is not None for row in rows)
    with figure_panels(file, 3 if calls else 1, description) as panels:
        for number, row in enumerate(rows):
            style = SeriesStyle(number)
            points: list[tuple[Any, float, float, float]] = [
                (panels[0], *_percent(row.loss_off_facts))
            ]
            if calls and row.auroc is not None and row.right is not None:
                points += [
                    (panels[1], row.auroc.value, row.auroc.low, row.auroc.high),
                    (panels[2], *_percent(row.right)),
                ]
            for axes, value, low, high in points:
                if math.isfinite(low) and math.isfinite(high):
                    axes.vlines(row.bytes / 1e6, low, high, color=style.colour, linewidth=1.2)
                axes.plot(
                    row.bytes / 1e6, value, marker=style.marker, color=style.colour, linestyle="",
                    label=row.name,
                )  # fmt: skip
        labels = ("rise of the loss off facts, %", "AUROC of calls", "facts right with calls, %")
        for axes, label in zip(panels, labels, strict=False):
            axes.set(xlabel="size, MB", ylabel=label)
            axes.set_xscale("log")
            axes.margins(x=0.1, y=0.1)
    return description


def _percent(score: Score) -> tuple[float, float, float]:
    return 100 * score.value, 100 * score.low, 100 * score.high


def _lede(rows: Sequence[StageRow]) -> str:
    outputs = [row for row in rows if row.kind in OUTPUT_KINDS]
    if not outputs:
        return "The plan has no outputs; the last step's folder is the result."
    least = min(outputs, key=lambda row: row.bytes)
    return (
        f"The smallest file is {least.name}: {least.bytes / 1e6:.1f} MB, {least.ratio:.1f} times "
        f"smaller than the original in 32 bits; its loss off facts is "
        f"{_signed(least.loss_off_facts)} of the original's."
    )


def _headlines(rows: Sequence[StageRow]) -> Iterable[Headline]:
    """Yield the facts right with calls of the smallest output, beside the original's."""
    outputs = [row for row in rows if row.kind in OUTPUT_KINDS and row.right is not None]
    if outputs and rows[0].right is not None:
        least = min(outputs, key=lambda row: row.bytes)
        assert least.right is not None
        note = f"Sentences completed with a true value: original, and {least.name}"
        yield Headline("facts right with calls", least.right, note, rows[0].right)


def _did(stage: Stage) -> tuple[str, str, str]:
    def joined(values: Any) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())

    return joined(stage.settings), joined(stage.did), format_duration(stage.seconds)
