"""Metrics against training settings: one point per run, under the condition that is compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lacy.errors import LacyError
from lacy.report.study_files import Key, ParsedCondition, Study, conditions_at_rate

GIVEN = (
    "run", "seed", "parameters", "steps", "tokens", "text_tokens", "seconds", "trained", "equal",
)  # fmt: skip
"""Columns of runs.csv that are not settings."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """The value of a metric for one run."""

    x: Any
    y: float
    group: str
    equal: str
    seed: int


def sweep_points(
    study: Study, metric: str, x: str, group: str = "", condition: str = ""
) -> list[SweepPoint]:
    """Return a metric of every run with the run's setting, in the order of the setting.

    Args:
        study: the study's files, from ``read_study``.
        metric: of the model, or of a condition.
        x: a column of runs.csv; a run that has no value there is left out.
        group: another one; "" for a single group.
        condition: as in ``figures.sweep``.

    Raises:
        LacyError: E87 for unknown columns, or where several runs of one seed fall on one point;
            E88 if nothing is left.
    """
    path = study.folder / "runs.csv"
    for column in (x, group):
        if column and column not in study.runs:
            why = f"it has no column {column}; it has: {', '.join(study.runs.columns)}"
            raise LacyError("E87", path=path, why=why)
    found: dict[SweepPoint, Any] = {}
    for run in _runs_by_rule(study):
        key: Key = (run["size"], run["trained"], run["method"])
        value, at = _figure(study, key, run, metric, condition), _setting(run, x)
        if value is None or at is None:
            continue
        name = str(run[group]) if group else ""
        point = SweepPoint(at, value, name, run["equal"], int(run["seed"]))
        _check_unique(point, found, run, path)
        found[point] = run
    if not found:
        raise LacyError("E88", what=_missing(study, metric, x), where=study.folder)
    return sorted(found, key=lambda p: (isinstance(p.x, str), 0 if isinstance(p.x, str) else p.x))


def _missing(study: Study, metric: str, x: str) -> str:
    """Say what is missing; if other conditions have the metric, name them."""
    names = dict.fromkeys(name for *_, name, of in study.found if of == metric and name)
    other = f" at the compared call rate; choose a condition: {', '.join(names)}" if names else ""
    return f"no {metric} beside {x}{other}"


def _runs_by_rule(study: Study) -> list[dict[str, Any]]:
    """Return the runs; a plain one is repeated for each rule of equality (``trained``: its own)."""
    found = []
    for run in study.runs.to_dict("records"):
        size, equal, method = run["size"], run["equal"], run["method"]
        if method in study.plain:
            run["call_rate"] = 0.0
        for group in study.groups:
            if (size, equal, method) in study.members(*group):
                found.append({**run, "equal": group[1], "trained": equal})
    return found


def _setting(run: dict[str, Any], x: str) -> Any:
    value = run[x]
    missing = isinstance(value, float) and math.isnan(value)
    if missing or value == "":
        return None
    return str(value) if isinstance(value, str | bool) else float(value)


def _figure(
    study: Study, key: Key, run: dict[str, Any], metric: str, condition: str
) -> float | None:
    names = [] if study.get(key, metric) else _conditions(study, key, run, condition)
    for name in [c.name for c in names] or [""]:
        found = study.get(key, metric, name)
        if found and int(run["seed"]) in found.seeds:
            return found.seeds[int(run["seed"])]
    return None


def _conditions(
    study: Study, key: Key, run: dict[str, Any], condition: str
) -> list[ParsedCondition]:
    """Return the conditions to look for the metric in: budgets on the margin first."""
    conditions = study.conditions(key)
    if condition and condition != "own":
        return [c for c in conditions if c.name == condition]
    if condition == "own":
        rate = (_setting(run, "call_rate") if "call_rate" in run else None) or math.nan
        conditions = [c for c in conditions if math.isclose(c.budget or 0, rate)]
    else:
        conditions = [c for _, c in conditions_at_rate(study, [key], study.common_rate())]
    return sorted(conditions, key=lambda c: (c.budget is None, bool(c.kind)))


def _check_unique(
    point: SweepPoint, found: dict[SweepPoint, Any], run: dict[str, Any], path: Any
) -> None:
    """Raise an error if two different methods fall on one point: their mean would mean nothing."""
    for other, first in found.items():
        same = (other.x, other.group, other.equal, other.seed)
        if same == (point.x, point.group, point.equal, point.seed):
            differ = [n for n in run if n not in GIVEN and str(run[n]) != str(first[n])]
            why = f"runs {first['run']} and {run['run']} "
            if differ:
                why += f"fall on one point; they differ in {', '.join(differ)}: choose, such as "
                why += f"{differ[0]}={run[differ[0]]}"
            else:
                why += "are the same"
            raise LacyError("E87", path=path, why=why)
