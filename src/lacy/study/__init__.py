"""Studies: arms x seeds x sizes as one plan that can be stopped, with tidy results and a report.

``plan`` spells a recipe out into cells; ``work`` is what one process does; ``runner`` runs jobs
side by side; ``tables`` makes tidy tables with intervals and tests; ``figures`` and ``pages`` draw.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacy.study.plan import StudyPlan, read_plan
    from lacy.study.runner import run_study
    from lacy.study.tables import write_tables

__all__ = ["StudyPlan", "read_plan", "run_study", "write_tables"]

_HOME = {
    "StudyPlan": "plan",
    "read_plan": "plan",
    "run_study": "runner",
    "write_tables": "tables",
}


def __getattr__(name: str) -> Any:
    """Import torch and pandas only when a name that needs them is used."""
    if name in _HOME:
        return getattr(import_module(f"lacy.study.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
