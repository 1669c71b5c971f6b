"""Further tables of ``lacy evaluate --articles``: recall, people's lives, odd articles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.terminal import say, table
from lacy.errors import LacyError

if TYPE_CHECKING:
    from lacy.results import Result
    from lacy.sources import Database

RECALL = ("entities_right", "page_recall", "entity_f1")
LIFE = ("life_stated", "life_right", "life_wrong", "life_years_right", "life_contradicted")
"""Metrics by length of the text, and of what texts say about people's lives."""

WHOLE = "whole text"


def open_people_facts(path: Path | None) -> Database | None:
    """Open a database of facts about people; None for no path.

    Raises:
        LacyError: E12, it is another kind of source; and the errors of ``open_source``.
    """
    if path is None:
        return None
    from lacy.sources import Database, open_source

    source = open_source(str(path))
    if not isinstance(source, Database):
        why, do = "it is no database", "give a facts database such as --people-facts facts.sqlite"
        raise LacyError("E12", key="people_facts", value=path, why=why, do=do)
    return source


def print_pages(measured: Sequence[Result]) -> None:
    """Print precision and recall by length, what texts say about lives, and what to know."""
    _print_groups("Names, numbers and dates of the page, by length", measured, RECALL)
    _print_groups("Birth, death, nationality and occupation, read by patterns", measured, LIFE)
    for result in measured:
        if result.unit == "articles" and result.value:
            from lacy.results import metric_of

            metric = metric_of(result.metric)
            say(f"{metric.label}: {result.value:.0f} of {result.n}. {metric.meaning}")


def _print_groups(title: str, measured: Sequence[Result], metrics: Sequence[str]) -> None:
    """Print a row per condition and group that has the last of these metrics."""
    from lacy.report import format_score
    from lacy.results import metric_of

    rows: dict[tuple[str, str], dict[str, Result]] = {}
    for result in measured:
        if result.metric in metrics:
            group = result.conditions.get("group", WHOLE)
            key = (result.conditions.get("condition", ""), group)
            rows.setdefault(key, {})[result.metric] = result
    body = [
        (*key, *(format_score(row.get(name)) for name in metrics))
        for key, row in rows.items()
        if metrics[1] in row
    ]
    if body:
        table(title, body, ("policy", "part", *(metric_of(name).label for name in metrics)))
