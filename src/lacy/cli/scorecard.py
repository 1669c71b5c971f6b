"""``lacy evaluate MODEL --all``: measure everything, and write the scorecard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from lacy import report, scorecard
from lacy._text import format_duration
from lacy.cli.terminal import note, say, table
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.cli.evaluate_options import EvaluateConfig
    from lacy.scorecard import SectionResult

FOLDER = "scorecard"
"""Folder of scorecards, unless --out names another."""


def run_scorecard(config: EvaluateConfig) -> int:
    """Measure all sections; print each when it is done; write JSON, page and model card.

    Returns:
        0, or 3 if a section ended with an error.
    """
    from lacy.model import load_model, set_precision
    from lacy.run import write_atomic

    inputs = _inputs(config)
    loaded = load_model(config.model)
    precision = set_precision(loaded.model, "auto")
    for sentence in (*loaded.notes, *([precision] if precision else [])):
        note(sentence)
    out = config.out or Path(FOLDER) / _folder_name(config.model)
    sections = scorecard.scorecard_sections(loaded, inputs)
    card = scorecard.measure_sections(loaded, sections, out, notify=note, on_section=_print)
    report.write_scorecard_page(out / "report.html", card)
    write_atomic(out / "model-card.md", report.model_card_results(card))
    if config.update_card:
        _update_card(loaded.path, card)
    failed = [section.title for section in card.sections if section.failed]
    say(f"Written: {out / 'report.html'}, {scorecard.SCORECARD_FILE} and model-card.md")
    if failed:
        say(f"Not measured because of an error: {', '.join(failed)}. The same command tries again.")
    return 3 if failed else 0


def _inputs(config: EvaluateConfig) -> scorecard.ScorecardInputs:
    """Return the files and limits of a scorecard; a file that does not exist is an error."""
    for name in ("articles", "questions", "audit"):
        path = getattr(config, name)
        if path is not None and not path.exists():
            raise LacyError("E251", flag=f"--{name}", path=path)
    return scorecard.ScorecardInputs(
        model=config.model, articles=config.articles, questions=config.questions,
        audit=config.audit, tasks=tuple(config.tasks), only=config.only, judge=config.judge,
        pipeline=config.pipeline, items=config.people,
        subjects=min(config.people, scorecard.SUBJECTS), seed=config.seed,
        policy=config.policies[0] if config.policies else "",
    )  # fmt: skip


def _folder_name(model: str) -> str:
    """Return a folder name for a model's name or path."""
    words = re.sub(r"[^\w.-]+", "-", Path(model.rstrip("/")).name).strip("-.")
    return words or "model"


def _print(section: SectionResult) -> None:
    """Print the table of a section."""
    if not section.results:
        return
    rows = scorecard.result_rows(section.results)
    columns = scorecard.columns_of(rows)
    body = [(row.label, *(report.format_cell(row.cells.get(c)) for c in columns)) for row in rows]
    title = f"{section.title} ({format_duration(section.seconds)})"
    table(title, body, ("", *(column or "value" for column in columns)))


def _update_card(folder: Path | None, card: scorecard.Scorecard) -> None:
    """Write the results into the README of the model's folder."""
    from lacy.run import write_atomic

    if folder is None or not folder.is_dir():
        note("--update-card: the model is no folder, so there is no README to update.")
        return
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_atomic(path, report.with_results(text, card))
    say(f"Updated: {path}")
