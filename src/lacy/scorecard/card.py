"""A scorecard as data: what was measured of a model, how, and the counts behind it.

A folder has ``scorecard.json`` with all results. ``sections/NAME.json`` has the results of one
section and the counts of its units, which comparisons need.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lacy._parse import parse_json
from lacy.errors import LacyError
from lacy.results import Result, UnitCounts, as_data, metric_of
from lacy.run import write_atomic

SCORECARD_FILE, SECTIONS_FOLDER, ANSWERS_FOLDER = "scorecard.json", "sections", "answers"
FORMAT = 1
"""Version of the files' format."""


@dataclass(frozen=True, slots=True)
class SectionResult:
    """What one section of a scorecard measured, or why it measured nothing."""

    name: str
    title: str
    question: str
    """What the section tells about the model."""
    key: str = ""
    """Hash of everything that the results depend on; empty for a section without results."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    results: tuple[Result, ...] = ()
    units: tuple[UnitCounts, ...] = ()
    seconds: float = 0.0
    skipped: str = ""
    """Why nothing was measured, and what to give so that it is."""
    failed: str = ""
    """The error that ended the section."""


@dataclass(frozen=True, slots=True)
class Scorecard:
    """Everything that was measured of one model."""

    model: str
    weights: str
    """Fingerprint of the weights and the ``<CALL>`` row."""
    sections: tuple[SectionResult, ...]
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def measured(self) -> list[SectionResult]:
        """The sections with results."""
        return [section for section in self.sections if section.results]


def write_section(folder: Path, section: SectionResult) -> None:
    """Write a section, atomically."""
    data = {"format": FORMAT, **_section_data(section)}
    write_atomic(folder / SECTIONS_FOLDER / f"{section.name}.json", _json(data))


def read_section(folder: Path, name: str) -> SectionResult | None:
    """Return a section that ``write_section`` wrote; None if there is none.

    Raises:
        LacyError: E250, the file is damaged or of another version.
    """
    path = folder / SECTIONS_FOLDER / f"{name}.json"
    if not path.is_file():
        return None
    return _section_from(path, _read(path))


def write_scorecard(folder: Path, card: Scorecard) -> None:
    """Write ``scorecard.json``: every result with its conditions, without counts and texts."""
    sections = []
    for section in card.sections:
        data = _section_data(section)
        del data["units"], data["seconds"]  # equal measurements give equal bytes
        sections.append(data)
    data = {
        "format": FORMAT, "model": card.model, "weights": card.weights,
        "environment": card.environment, "sections": sections,
    }  # fmt: skip
    write_atomic(folder / SCORECARD_FILE, _json(data))


def read_scorecard(folder: str | Path) -> Scorecard:
    """Read the scorecard in a folder, with the counts of its units.

    Raises:
        LacyError: E250, there is no scorecard, or it is damaged or of another version.
    """
    folder = Path(folder)
    path = folder / SCORECARD_FILE
    data = _read(path)
    try:
        sections = [_section_from(path, section) for section in data["sections"]]
        sections = [
            (read_section(folder, one.name) or one) if one.results else one for one in sections
        ]
        return Scorecard(data["model"], data["weights"], tuple(sections), data["environment"])
    except (KeyError, TypeError) as error:
        raise LacyError("E250", path=path, why=f"{error!r} is missing or wrong") from error


def _section_data(section: SectionResult) -> dict[str, Any]:
    data = {
        name: getattr(section, name)
        for name in ("name", "title", "question", "key", "settings", "seconds", "skipped", "failed")
    }
    units = [
        {
            "conditions": dict(unit.conditions),
            "names": list(unit.names),
            "counts": {name: [_number(x) for x in values] for name, values in unit.counts.items()},
            "texts": list(unit.texts),
        }
        for unit in section.units
    ]
    return {**data, "results": [as_data(asdict(one)) for one in section.results], "units": units}


def _number(value: float) -> float | int:
    """Return whole numbers as integers, which are shorter."""
    return int(value) if float(value).is_integer() else float(value)


def _section_from(path: Path, data: Mapping[str, Any]) -> SectionResult:
    def number(value: Any) -> float:
        return math.nan if value is None else float(value)

    try:
        results = tuple(
            Result(**{**one, **{name: number(one[name]) for name in ("value", "low", "high")}})
            for one in data["results"]
        )
        units = tuple(
            UnitCounts(
                unit["conditions"], tuple(unit["names"]),
                {name: np.array(values, float) for name, values in unit["counts"].items()},
                tuple(unit["texts"]),
            )
            for unit in data.get("units", ())
        )  # fmt: skip
        return SectionResult(
            data["name"], data["title"], data["question"], data["key"], data["settings"], results,
            units, float(data.get("seconds", 0)), data["skipped"], data["failed"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise LacyError("E250", path=path, why=f"{error!r} is missing or wrong") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        data = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LacyError("E250", path=path, why="there is no such file") from None
    except (OSError, ValueError) as error:
        raise LacyError("E250", path=path, why=str(error)) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else None
        raise LacyError("E250", path=path, why=f"its format is {found!r}, not {FORMAT}")
    return data


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class ResultRow:
    """The results of one metric under all conditions: one row of a table."""

    metric: str
    variant: str
    """What tells several results of the metric apart, such as a task or ``p95``; usually empty."""
    cells: Mapping[str, Result]
    """The results by condition (``alone``, ``cascade``; "" for the model itself)."""

    @property
    def label(self) -> str:
        """The metric's label and the variant."""
        label = metric_of(self.metric).label
        return f"{label}, {self.variant}" if self.variant else label


COMMON = ("condition", "policy", "source")
"""Conditions that may differ between the cells of a row."""


def result_rows(results: Sequence[Result]) -> list[ResultRow]:
    """Return the results as rows of a table with a column per condition.

    Outcomes of which more is better come first, otherwise the order is that of the results.
    Results of groups (a relation, a prompt form) are left out.
    """
    by_cell: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if "group" not in result.conditions:
            cell = (result.metric, result.conditions.get("condition", ""))
            by_cell.setdefault(cell, []).append(result)
    telling: dict[str, list[str]] = {}
    for (metric, _), found in by_cell.items():
        keys = telling.setdefault(metric, [])
        for key in dict.fromkeys(key for result in found for key in result.conditions):
            values = {result.conditions.get(key, "") for result in found}
            if len(values) > 1 and key not in (*COMMON, *keys):
                keys.append(key)
    rows: dict[tuple[str, str], dict[str, Result]] = {}
    for (metric, condition), found in by_cell.items():
        for result in found:
            told = [result.conditions.get(key, "") for key in telling[metric]]
            variant = ", ".join(filter(None, told))
            rows.setdefault((metric, variant), {})[condition] = result
    made = [ResultRow(metric, variant, cells) for (metric, variant), cells in rows.items()]
    return sorted(made, key=lambda row: not is_outcome(row.metric))


def is_outcome(metric: str) -> bool:
    """True for a share of right or good ones, of which more is better."""
    described = metric_of(metric)
    return described.outcome and described.sign > 0 and described.unit == "share"


def columns_of(rows: Sequence[ResultRow]) -> list[str]:
    """Return the conditions of rows, in order."""
    return list(dict.fromkeys(name for row in rows for name in row.cells))
