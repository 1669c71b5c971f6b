"""The HTML page of a study: methods, comparisons, quality against cost, calibration, setup.

Like all pages of ``html``, it is one file without scripts or requests, with figures inside.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from lacy.errors import LacyError
from lacy.report import figures
from lacy.report.html import HtmlPage, PageFigure, PageTable, TableRow, format_figure, write_html
from lacy.report.markdown import (
    METHODS,
    TableBlock,
    column_label,
    format_difference,
    format_p_value,
    read_comparisons,
    table_blocks,
)
from lacy.report.study_files import EQUAL, PooledScore, Study, read_study
from lacy.report.svg import inline
from lacy.results import RESAMPLES, Score, metric_of

DRAWN: tuple[tuple[str, Callable[..., str]], ...] = (
    ("The methods at the same call rate", figures.methods),
    ("Quality and cost", figures.frontier),
    ("Does the model know when to call?", figures.calibration),
    ("Does the selection become stable?", figures.turnover),
)
"""Titles of the figures, and the functions that draw them."""
MODELS = ("closed_book_recall", "auroc_start", "language_loss", "stored_bits")
"""Columns of the table of models."""
ANSWERS = tuple(metric for metric in METHODS if metric not in MODELS)
"""Columns of the table of answers."""
NOTES = (
    f"Intervals are 95% percentile intervals of {RESAMPLES:,} bootstrap draws over the people of "
    "all seeds; for figures of the model itself (closed-book recall, AUROC, language loss, stored "
    "bits) they are t intervals over seeds (n). Methods are compared at the same call rate; models "
    "of different sizes, or trained for different numbers of tokens, are never put into one table.",
)


def write_study_page(folder: str | Path, out: str | Path) -> None:
    """Write the HTML page of a study; it also says which parts were not measured.

    Args:
        folder: the study's folder.
        out: the HTML file.

    Raises:
        LacyError: E13, E87 for missing or foreign files.
    """
    study = read_study(folder)
    missing: list[str] = []
    tables = [table for block in table_blocks(study) for table in _methods(block)]
    try:
        tables += _comparisons(study)
    except LacyError as error:
        missing.append(_left_out(error, "the comparisons"))
    seeds = f"{study.seeds} seed{'s' if study.seeds != 1 else ''}"
    setup = {k.replace("_", " "): str(v) for k, v in study.setup.items() if k != "conditions"}
    for name, condition in study.setup.get("conditions", {}).items():
        given = (f"{key} {value}" for key, value in condition.items() if value not in ("", None))
        setup[f"condition {name}"] = ", ".join(given)
    page = HtmlPage(
        title="One study, every method at the same call rate",
        lede=f"{len(study.runs)} models: {', '.join(study.methods)}; {seeds}.",
        tables=tables,
        figures=_figures(study.folder, missing),
        setup=setup,
        notes=[*NOTES, *missing],
    )
    write_html(out, page)


def _left_out(error: LacyError, what: str) -> str:
    """Return a sentence about missing data; re-raise errors of other kinds."""
    if error.code not in ("E13", "E88"):
        raise error
    return f"Not shown: {error.values.get('what', what)}."


def _methods(block: TableBlock) -> list[PageTable]:
    """Split a table in two, so that each fits on the page: metrics of answers, and of models."""
    tables = []
    for what, columns in (("", ANSWERS), (": the models by themselves", MODELS)):
        shown = [metric for metric in columns if any(metric in line.scores for line in block.lines)]
        rows = []
        for line in block.lines:
            cells = [found.score if (found := line.scores.get(m)) else None for m in shown]
            right = line.scores.get("facts_right") if columns is ANSWERS else None
            rows.append(TableRow(line.method, cells, _note(line.condition.name, right)))
        if shown:
            tables.append(PageTable(block.title + what, [column_label(m) for m in shown], rows))
    return tables


def _note(condition: str, right: PooledScore | None) -> str:
    """Return the condition and, if there are several seeds, the range of facts right over them."""
    if right is None or len(right.seeds) < 2:
        return condition
    ends = (format_figure(end(right.seeds.values()), bare=True) for end in (min, max))
    return f"{condition}; facts right of single seeds {' to '.join(ends)}"


def _comparisons(study: Study) -> list[PageTable]:
    found = []
    rows = read_comparisons(study.folder)
    for (size, equal), group in rows.groupby(["size", "equal"], sort=False):
        body = []
        for row in group.to_dict("records"):
            people = f"{int(row['n']):,}"
            cells: list[Score | str | None] = [
                format_difference(row),
                format_p_value(row["p"]),
                people,
            ]
            body.append(
                TableRow(f"{row['a']} against {row['b']}", cells, metric_of(row["metric"]).label)
            )
        title = f"Comparisons, size {size}, {EQUAL.get(equal, equal)}"
        note = "Paired over people and seeds; p from a paired sign-flip test."
        found.append(PageTable(title, ("difference", "p", "people"), body, note))
    return found


def _figures(folder: Path, missing: list[str]) -> list[PageFigure]:
    drawn = []
    for title, draw in DRAWN:
        buffer = io.StringIO()
        try:
            caption = draw(folder, buffer)
        except LacyError as error:
            missing.append(_left_out(error, title))
            continue
        drawn.append(PageFigure(title, inline(buffer.getvalue(), draw.__name__), caption))
    return drawn
