"""Points of a plot of a metric against a training setting, one per run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lacy.errors import LacyError
from lacy.report.study_files import Key, ParsedCondition, Study, conditions_at_rate, require_column

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
        metric: a metric of answers or of the model itself.
        x: the setting, a column of runs.csv; runs without a value are left out.
        group: the column of runs.csv that groups the runs; "" for a single group.
        condition: the condition, as in ``figures.sweep``.

    Raises:
        LacyError: E87 for unknown columns, or if several runs of one seed fall on one point; E88 if
            no run has the metric.
    """
    path = study.folder / "runs.csv"
    for column in filter(None, (x, group)):
        require_column(study.runs, column, path)
    run_of: dict[SweepPoint, Any] = {}
    for run in _runs_by_rule(study):
        key: Key = (run["size"], run["trained"], run["method"])
        value, x_value = _figure(study, key, run, metric, condition), _setting(run, x)
        if value is None or x_value is None:
            continue
        name = str(run[group]) if group else ""
        point = SweepPoint(x_value, value, name, run["equal"], int(run["seed"]))
        _check_unique(point, run_of, run, path)
        run_of[point] = run
    if not run_of:
        raise LacyError("E88", what=_missing(study, metric, x), where=study.folder)
    return sorted(run_of, key=lambda p: (isinstance(p.x, str), 0 if isinstance(p.x, str) else p.x))


def _missing(study: Study, metric: str, x: str) -> str:
    """Return what is missing; if other conditions have the metric, name them."""
    names = dict.fromkeys(
        name for *_, name, measured in study.scores if measured == metric and name
    )
    other = f" at the compared call rate; choose a condition: {', '.join(names)}" if names else ""
    return f"no {metric} beside {x}{other}"


def _runs_by_rule(study: Study) -> list[dict[str, Any]]:
    """Return the runs as dicts, plain runs once for each rule of equality (``equal``).

    ``trained`` is the rule that a run was really trained by.
    """
    runs = []
    for run in study.runs.to_dict("records"):
        size, equal, method = run["size"], run["equal"], run["method"]
        if method in study.plain:
            run["call_rate"] = 0.0
        for group in study.groups:
            if (size, equal, method) in study.members(*group):
                runs.append({**run, "equal": group[1], "trained": equal})
    return runs


def _setting(run: dict[str, Any], x: str) -> Any:
    value = run[x]
    missing = isinstance(value, float) and math.isnan(value)
    if missing or value == "":
        return None
    return str(value) if isinstance(value, str | bool) else float(value)


def _figure(
    study: Study, key: Key, run: dict[str, Any], metric: str, condition: str
) -> float | None:
    conditions = [] if study.get(key, metric) else _conditions(study, key, run, condition)
    for name in [c.name for c in conditions] or [""]:
        score = study.get(key, metric, name)
        if score and int(run["seed"]) in score.seeds:
            return score.seeds[int(run["seed"])]
    return None


def _conditions(
    study: Study, key: Key, run: dict[str, Any], condition: str
) -> list[ParsedCondition]:
    """Return the conditions in which to look for the metric, budgets on the margin first."""
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
    """Raise an error if different runs fall on one point, as their mean would be meaningless."""
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
