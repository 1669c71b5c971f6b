"""Metrics against training settings: one point per cell, asked in the way that is compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lacy.errors import LacyError
from lacy.study.reading import Key, Study, Way, at_rate

GIVEN = (
    "cell", "seed", "parameters", "steps", "tokens", "text_tokens", "seconds", "trained", "equal",
)  # fmt: skip
"""Columns of cells.csv that are not settings."""


@dataclass(frozen=True, slots=True)
class Point:
    """A metric of one cell."""

    x: Any
    y: float
    group: str
    equal: str
    seed: int


@dataclass(frozen=True, slots=True)
class Points:
    """A metric over all cells, in the order of the setting."""

    metric: str
    x: str
    points: tuple[Point, ...]


def points(study: Study, metric: str, x: str, group: str = "", way: str = "") -> Points:
    """A metric of every cell beside its setting.

    Args:
        study: what was read.
        metric: of the model, or of a way.
        x: a column of cells.csv; a cell that has no value there is left out.
        group: another one; "" for a single group.
        way: as in ``figures.sweep``.

    Raises:
        LacyError: E87 for unknown columns, or where several cells of one seed fall on one point;
            E88 if nothing is left.
    """
    path = study.folder / "cells.csv"
    for column in (x, group):
        if column and column not in study.cells:
            why = f"it has no column {column}; it has: {', '.join(study.cells.columns)}"
            raise LacyError("E87", path=path, why=why)
    found: dict[Point, Any] = {}
    for cell in _everywhere(study):
        key: Key = (cell["size"], cell["trained"], cell["method"])
        value, at = _figure(study, key, cell, metric, way), _setting(cell, x)
        if value is None or at is None:
            continue
        name = str(cell[group]) if group else ""
        point = Point(at, value, name, cell["equal"], int(cell["seed"]))
        _alone(point, found, cell, path)
        found[point] = cell
    if not found:
        raise LacyError("E88", what=_nothing(study, metric, x), where=study.folder)
    by_x = sorted(found, key=lambda p: (isinstance(p.x, str), 0 if isinstance(p.x, str) else p.x))
    return Points(metric, x, tuple(by_x))


def _nothing(study: Study, metric: str, x: str) -> str:
    """What is missing; where other ways have the metric, their names."""
    names = dict.fromkeys(way for *_, way, of in study.found if of == metric and way)
    other = f" at the compared call rate; choose a way: {', '.join(names)}" if names else ""
    return f"no {metric} beside {x}{other}"


def _everywhere(study: Study) -> list[dict[str, Any]]:
    """The cells; a plain one stands under each rule of equality. ``trained``: under its own."""
    found = []
    for cell in study.cells.to_dict("records"):
        size, equal, method = cell["size"], cell["equal"], cell["method"]
        if method in study.plain:
            cell["call_rate"] = 0.0
        for group in study.groups:
            if (size, equal, method) in study.members(*group):
                found.append({**cell, "equal": group[1], "trained": equal})
    return found


def _setting(cell: dict[str, Any], x: str) -> Any:
    value = cell[x]
    missing = isinstance(value, float) and math.isnan(value)
    if missing or value == "":
        return None
    return str(value) if isinstance(value, str | bool) else float(value)


def _figure(study: Study, key: Key, cell: dict[str, Any], metric: str, way: str) -> float | None:
    names = [""] if study.get(key, metric) else [w.name for w in _ways(study, key, cell, way)]
    for name in names:
        found = study.get(key, metric, name)
        if found and int(cell["seed"]) in found.seeds:
            return found.seeds[int(cell["seed"])]
    return None


def _ways(study: Study, key: Key, cell: dict[str, Any], way: str) -> list[Way]:
    """The ways to look at, the first that has the metric is taken: budgets on the margin first."""
    ways = study.ways(key)
    if way and way != "own":
        return [w for w in ways if w.name == way]
    if way == "own":
        rate = _setting(cell, "call_rate") if "call_rate" in cell else None
        ways = [w for w in ways if w.budget is not None and rate and math.isclose(w.budget, rate)]
    else:
        ways = [w for _, w in at_rate(study, [key], study.common_rate())]
    return sorted(ways, key=lambda w: (w.budget is None, bool(w.kind)))


def _alone(point: Point, found: dict[Point, Any], cell: dict[str, Any], path: Any) -> None:
    """Refuses to lay two different methods on one point: their mean would mean nothing."""
    for other, theirs in found.items():
        same = (other.x, other.group, other.equal, other.seed)
        if same == (point.x, point.group, point.equal, point.seed):
            differ = [n for n in cell if n not in GIVEN and str(cell[n]) != str(theirs[n])]
            why = (
                f"cells {theirs['cell']} and {cell['cell']} fall on one point; they differ in "
                f"{', '.join(differ) or 'nothing'}: choose, such as {differ[0]}={cell[differ[0]]}"
                if differ
                else f"cells {theirs['cell']} and {cell['cell']} are the same"
            )
            raise LacyError("E87", path=path, why=why)
