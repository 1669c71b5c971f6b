"""Flags of the commands that read cases of a router."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lacy.cli.terminal import print_report
from lacy.config import Rare

if TYPE_CHECKING:
    from lacy.route import RouteCase


@dataclass
class CaseOptions:
    """Flags that name the fields with texts, routes, sources and outcomes in a file of cases."""

    # [Columns]
    text_field: str = "text"
    """Field (or column) with the text."""
    route_field: str = "route"
    """Field with the right route."""
    model_columns: list[str] = field(default_factory=list)
    """Columns that hold how well a model answered, named after the model, beside scores.MODEL."""
    source_field: Rare[str] = "source"
    """Field with the name of the data that a text is from; by default the file's name."""
    score_field: Rare[str] = "score"
    """Field with the score of one model's answer, if every line is about one answer."""
    model_field: Rare[str] = "model"
    """Field with the model that gave it."""
    cost_field: Rare[str] = "cost"
    """Field with what it cost."""
    encoding: Rare[str | None] = None
    """Encoding of files that are not UTF-8."""

    def cases(self, paths: list[Path], limit: int | None = None) -> list[RouteCase]:
        """Read the files, and report what was skipped."""
        from lacy.corpus import ReadReport
        from lacy.route import CaseFields, read_cases

        report = ReadReport()
        fields = CaseFields(
            self.text_field, self.route_field, self.source_field, models=tuple(self.model_columns),
            model=self.model_field, score=self.score_field, cost=self.cost_field,
        )  # fmt: skip
        most = {} if limit is None else {"limit": limit}
        found = read_cases(paths, fields, encoding=self.encoding, report=report, **most)
        print_report(report)
        return found
