"""The page of a study: methods, comparisons, quality against cost, calibration, setup.

It has the look of the report of a world (``html``): no scripts, no requests, figures
within the page.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.evaluate import RESAMPLES, Score, metric_of
from lacy.report import figures
from lacy.report.html import HtmlPage, PageFigure, PageTable, TableRow, format_figure, write_html
from lacy.report.markdown import METHODS, TableBlock, blocks, comparisons, gap, label, p_value
from lacy.report.study_files import EQUAL, PooledScore, Study, read_study
from lacy.report.svg import inline

DRAWN: tuple[tuple[str, Callable[..., str]], ...] = (
    ("The methods at one call rate", figures.methods),
    ("Quality and cost", figures.frontier),
    ("Does it know when to ask?", figures.calibration),
    ("Does the choice settle?", figures.turnover),
)
MODELS = ("closed_book_recall", "auroc_start", "language_loss", "stored_bits")
ANSWERS = tuple(metric for metric in METHODS if metric not in MODELS)
NOTES = (
    f"Intervals are 95% percentile intervals of {RESAMPLES:,} bootstrap draws over the people of "
    "all seeds; for figures of the model itself (closed-book recall, AUROC, language loss, stored "
    "bits) they are t intervals over seeds (n). Methods are compared at one call rate; models of "
    "different sizes, or trained for different numbers of tokens, are never put into one table.",
)


def write_study_page(folder: str | Path, out: str | Path) -> None:
    """Write the page of a study; the page lists what was not measured.

    Args:
        folder: of the study.
        out: the HTML file.

    Raises:
        LacyError: E13, E87 for missing or foreign files.
    """
    study = read_study(folder)
    missing: list[str] = []
    tables = [table for block in blocks(study) for table in _methods(block)]
    try:
        tables += _comparisons(study)
    except LacyError as error:
        missing.append(_left_out(error, "the comparisons"))
    seeds = f"{study.seeds} seed{'s' if study.seeds != 1 else ''}"
    data = HtmlPage(
        title="One study, every method at the same call rate",
        lede=f"{len(study.runs)} models: {', '.join(study.methods)}; {seeds}.",
        tables=tables,
        figures=_figures(study.folder, missing),
        setup={
            name.replace("_", " "): str(value)
            for name, value in study.setup.items()
            if name != "conditions"
        }
        | {
            f"condition {name}": _words(condition)
            for name, condition in study.setup.get("conditions", {}).items()
        },
        notes=[*NOTES, *missing],
    )
    write_html(out, data)


def _words(condition: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in condition.items() if value not in ("", None)
    )


def _left_out(error: LacyError, what: str) -> str:
    """Return a sentence about missing data; raise any other error."""
    if error.code not in ("E13", "E88"):
        raise error
    return f"Not shown: {error.values.get('what', what)}."


def _methods(block: TableBlock) -> list[PageTable]:
    """Return two tables of a block, so that each fits a page: the answers, and the models."""
    found = []
    for what, columns in (("", ANSWERS), (": the models by themselves", MODELS)):
        shown = [metric for metric in columns if any(metric in line.found for line in block.lines)]
        rows = []
        for line in block.lines:
            figures_ = [line.found.get(metric) for metric in shown]
            right = line.found.get("facts_right") if columns is ANSWERS else None
            rows.append(
                TableRow(
                    line.method,
                    [f.score if f else None for f in figures_],
                    _note(line.condition.name, right),
                )
            )
        if shown:
            found.append(PageTable(block.title + what, [label(metric) for metric in shown], rows))
    return found


def _note(condition: str, right: PooledScore | None) -> str:
    """Return the condition, and the range over single seeds."""
    if right is None or len(right.seeds) < 2:
        return condition
    ends = (format_figure(end(right.seeds.values()), bare=True) for end in (min, max))
    return f"{condition}; facts right of single seeds {' to '.join(ends)}"


def _comparisons(study: Study) -> list[PageTable]:
    found = []
    rows = comparisons(study.folder)
    for (size, equal), group in rows.groupby(["size", "equal"], sort=False):
        body = []
        for row in group.to_dict("records"):
            people = f"{int(row['n']):,}"
            cells: list[Score | str | None] = [gap(row), p_value(row["p"]), people]
            body.append(
                TableRow(f"{row['a']} against {row['b']}", cells, metric_of(row["metric"]).label)
            )
        title = f"Comparisons, size {size}, {EQUAL.get(equal, equal)}"
        note = "Paired over people and seeds; p from a paired sign-flip test."
        found.append(PageTable(title, ("difference", "p", "people"), body, note))
    return found


def _figures(folder: Path, missing: list[str]) -> list[PageFigure]:
    drawn = []
    with tempfile.TemporaryDirectory() as place:
        for title, draw in DRAWN:
            file = Path(place) / f"{draw.__name__}.svg"
            try:
                said = draw(folder, file)
            except LacyError as error:
                missing.append(_left_out(error, title))
                continue
            svg = inline(file.read_text(encoding="utf-8"), draw.__name__)
            drawn.append(PageFigure(title, svg, said))
    return drawn
