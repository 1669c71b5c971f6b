"""Scores: facts right and wrong, call quality, leakage, stored bits, entity precision, the report.

Every figure is a ``Score``: a value, its 95% interval and the number of people or documents behind
it. The parts are pure functions of answers, marks and arrays (``facts``, ``calls``, ``leakage``,
``bits``, ``entities``); ``evaluate_world`` runs a model and calls them all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacy.evaluate.entities import entity_precision
    from lacy.evaluate.evaluate import WorldResult, evaluate_world
    from lacy.evaluate.facts import score_facts
    from lacy.evaluate.report import ReportData, write_report
    from lacy.evaluate.statistics import Score

__all__ = [
    "ReportData",
    "Score",
    "WorldResult",
    "entity_precision",
    "evaluate_world",
    "score_facts",
    "write_report",
]

_HOME = {
    "ReportData": "lacy.evaluate.report",
    "Score": "lacy.evaluate.statistics",
    "WorldResult": "lacy.evaluate.evaluate",
    "entity_precision": "lacy.evaluate.entities",
    "evaluate_world": "lacy.evaluate.evaluate",
    "score_facts": "lacy.evaluate.facts",
    "write_report": "lacy.evaluate.report",
}


def __getattr__(name: str) -> Any:
    """Import numpy, torch and the template engine only when a name that needs them is used."""
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
