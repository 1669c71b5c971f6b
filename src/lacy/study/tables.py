"""Tidy tables from the files of single models: one row per figure, pooled rows, comparisons.

Figures of answers are ratios of sums over people; over several seeds the people of all seeds are
pooled (a person of one seed is not the person of another), so intervals count people and models
of all seeds. Figures of a model itself (AUROC, closed-book recall, bits) are averaged over seeds,
with the t interval of that mean.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lacy.errors import LacyError
from lacy.evaluate import (
    CONFIDENCE,
    MODEL_METRICS,
    Score,
    difference,
    model_scores,
    paired_test,
    ratio_scores,
    recovered,
    sums,
)
from lacy.run import environment, read_metrics, write_atomic
from lacy.study import work
from lacy.study.plan import PlannedRun, StudyPlan, planned_runs, sides

RUN_COLUMNS = ("run", "size", "method", "equal", "seed")
"""Columns that identify a run, in every table."""
POOLED = -1
"""``seed`` of rows that pool all seeds."""


@dataclass(frozen=True)
class Counts:
    """Counts of each person that a model was asked about, under one condition."""

    people: tuple[str, ...]
    table: pd.DataFrame

    def pair(self, top: str, bottom: str) -> tuple[Any, Any]:
        """Return numerators and denominators."""
        return self.table[top].to_numpy(float), self.table[bottom].to_numpy(float)


def write_tables(plan: StudyPlan) -> dict[str, pd.DataFrame]:
    """Write the tables of everything that is finished into the study's folder.

    Returns:
        The tables: results, runs, people, curves, comparisons.
    """
    every = {run.name: run for run in planned_runs(plan)}
    done = [run for run in every.values() if work.trained(plan, run)]
    counts = {
        (run.name, condition): _counts(file)
        for run in done
        for condition in run.conditions
        if (file := work.condition_file(plan, run, condition, every)).exists()
    }
    tables = {
        "runs": _runs(plan, done),
        "results": _results(plan, done, counts),
        "people": _people(done, counts),
        "curves": _curves(plan, done),
        "comparisons": _comparisons(plan, every, counts),
    }
    for name in ("runs", "results", "curves", "comparisons"):
        content = tables[name].to_csv(index=False, float_format="%.6g")
        write_atomic(plan.out / f"{name}.csv", content)
    for name in ("results", "people"):
        write_atomic(plan.out / f"{name}.parquet", tables[name].to_parquet(index=False))
    seconds = float(tables["runs"]["seconds"].sum()) if done else 0.0
    setup = {
        **environment(), "seeds": sorted({run.seed for run in done}), "world": asdict(plan.world),
        "ask": plan.ask, "call_rate": plan.call_rate,
        "conditions": {name: asdict(plan.condition(name)) for name in plan.conditions},
        "runs": len(done),
        "training_seconds": round(seconds, 1),
    }  # fmt: skip
    write_atomic(plan.out / "setup.json", json.dumps(setup, indent=2) + "\n")
    return tables


def _counts(file: Path) -> Counts:
    data = work.read_object(file)
    try:
        table = pd.DataFrame(data["counts"], columns=data["columns"])
        return Counts(tuple(data["people"]), table)
    except (KeyError, TypeError, ValueError) as error:
        raise LacyError("E87", path=file, why=f"it holds no counts ({error})") from error


def _runs(plan: StudyPlan, done: Sequence[PlannedRun]) -> pd.DataFrame:
    """Return one row per training run, with the settings in which the runs differ."""
    names = sorted({key for run in planned_runs(plan) for key in run.settings})
    from lacy.train import TrainConfig

    rows = []
    for run in done:
        facts = work.trained(plan, run) or {}
        given = {
            key: run.settings.get(key, getattr(TrainConfig, key, None))
            for key in names
            if key not in ("steps", "out")
        }
        given = {("objective" if key == "method" else key): value for key, value in given.items()}
        rows.append({**_run_columns(run), **facts, "cue": run.cue, **given})
    return pd.DataFrame(rows)


def _run_columns(run: PlannedRun) -> dict[str, Any]:
    """Return the values of ``RUN_COLUMNS``."""
    return {"run": run.name, **{name: getattr(run, name) for name in RUN_COLUMNS[1:]}}


# ------------------------------------------------------------------------------------ results


def _results(
    plan: StudyPlan, done: Sequence[PlannedRun], counts: Mapping[tuple[str, str], Counts]
) -> pd.DataFrame:
    """Return the scores of each run, then those pooled over seeds."""
    rows: list[dict[str, Any]] = []
    single = [([run], _run_columns(run), run.seed) for run in done]
    pooled = [
        (group, {**_run_columns(first), "run": first.name.rpartition(".")[0], "seed": POOLED}, 0)
        for group in _groups(done)
        for first in group[:1]
    ]
    for runs, columns, seed in (*single, *pooled):
        for condition in runs[0].conditions:
            asked = [run for run in runs if (run.name, condition) in counts]
            if asked:
                baselines = [_baselines(plan, run, counts) for run in asked]
                asked_counts = [counts[run.name, condition] for run in asked]
                scores = condition_scores(asked_counts, baselines, seed=seed)
                rows += _rows(columns, condition, scores)
        rows += _rows(columns, "", _mean_reading([_reading(plan, run) for run in runs]))
    names = (*RUN_COLUMNS, "condition", "metric", "value", "low", "high", "n", "unit")
    return pd.DataFrame(rows, columns=names)


def _rows(
    columns: Mapping[str, Any], condition: str, scores: Mapping[str, Score]
) -> list[dict[str, Any]]:
    return [
        {**columns, "condition": condition, "metric": name, **asdict(score)}
        for name, score in scores.items()
        if math.isfinite(score.value)
    ]


def _groups(done: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Group runs that differ only in their seed."""
    found: dict[tuple[str, str, str], list[PlannedRun]] = {}
    for run in done:
        found.setdefault((run.size, run.method, run.equal), []).append(run)
    return list(found.values())


Baselines = tuple[Counts, Counts] | None


def _baselines(
    plan: StudyPlan, run: PlannedRun, counts: Mapping[tuple[str, str], Counts]
) -> Baselines:
    """Return the baselines of the recovered share, of the same size and seed."""
    found = []
    for side in (plan.advantage.alone, plan.advantage.partner):
        method, _, condition = side.partition("/")
        found.append(counts.get((work.partner_name(run, method), condition)))
    alone, partner = found
    return (alone, partner) if alone and partner else None


def condition_scores(
    asked: Sequence[Counts], baselines: Sequence[Baselines] = (), *, seed: int = 0
) -> dict[str, Score]:
    """Return the scores of one condition over the people of one or several models.

    Args:
        asked: counts of each model.
        baselines: for each model, the baselines of the recovered share.
        seed: seed of the bootstrap.
    """
    table = pd.concat([counts.table for counts in asked], ignore_index=True)
    scores = ratio_scores(table, seed=seed)
    known = [(counts, others) for counts, others in zip(asked, baselines, strict=False) if others]
    if known and len(known) == len(asked):
        three = [
            _stacked([counts for counts, _ in known]),
            _stacked([others[0] for _, others in known]),
            _stacked([others[1] for _, others in known]),
        ]
        scores["recovered"] = recovered(*three, seed=seed)
    return scores


def _stacked(asked: Sequence[Counts]) -> tuple[Any, Any]:
    """Return right claims and claims of each person of each model."""
    pairs = [counts.pair("right", "claims") for counts in asked]
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])


def _reading(plan: StudyPlan, run: PlannedRun) -> dict[str, Score]:
    """Return the metrics of a model itself."""
    file = work.reading_file(plan, run)
    if not file.exists():
        return {}
    return model_scores(work.read_object(file))


def _mean_reading(readings: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """Return means over seeds with their t interval; a single seed keeps its own interval."""
    names = [name for name in MODEL_METRICS if all(name in reading for reading in readings)]
    if len(readings) == 1:
        return dict(readings[0])
    return {name: _mean([reading[name] for reading in readings]) for name in names}


def _mean(scores: Sequence[Score]) -> Score:
    from scipy import stats

    values = np.array([score.value for score in scores])
    error = values.std(ddof=1) / math.sqrt(len(values))
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * error)
    middle = float(values.mean())
    return Score(middle, middle - reach, middle + reach, len(values), scores[0].unit)


# --------------------------------------------------------------------------- people and curves


def _people(done: Sequence[PlannedRun], counts: Mapping[tuple[str, str], Counts]) -> pd.DataFrame:
    """Return the counts of each person."""
    parts = []
    seeds = {run.name: run.seed for run in done}
    for (run, condition), found in counts.items():
        keys = {"run": run, "condition": condition, "seed": seeds[run]}
        people = pd.DataFrame({**keys, "person": list(found.people)})
        parts.append(pd.concat([people, found.table], axis=1))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run"])


def _curves(plan: StudyPlan, done: Sequence[PlannedRun]) -> pd.DataFrame:
    """Return calibration, turnover of the selection, and loss of each model as points."""
    rows = []
    for run in done:
        columns = _run_columns(run)
        file = work.reading_file(plan, run)
        calls = work.read_object(file).get("calls") if file.exists() else None
        for bin in ((calls or {}).get("decision") or {}).get("bins", ()):
            rows.append({**columns, "curve": "calibration", "x": bin["predicted"],
                         "y": bin["observed"], "n": bin["tokens"]})  # fmt: skip
        for row in read_metrics(work.run_folder(plan, run) / "metrics.jsonl"):
            for curve, key in (("turnover", "turnover"), ("loss", "text_loss")):
                if row.get(key) is not None:
                    point = {"curve": curve, "x": row["step"], "y": row[key], "n": 1}
                    rows.append({**columns, **point})
    return pd.DataFrame(rows, columns=(*RUN_COLUMNS, "curve", "x", "y", "n"))


# -------------------------------------------------------------------------------- comparisons


def _comparisons(
    plan: StudyPlan, every: Mapping[str, PlannedRun], counts: Mapping[tuple[str, str], Counts]
) -> pd.DataFrame:
    """Return each comparison of the plan, per size, over the people of all common seeds."""
    rows = []
    for text in plan.compare:
        sides_of = [side.partition("/")[::2] for side in sides(text)]
        for size in plan.sizes:
            for equal in ("steps", "text_tokens"):
                pairs = _pairs(size, equal, sides_of, every, counts)
                for metric in plan.metrics if pairs else ():
                    rows.append(_comparison(text, size, equal, metric, pairs))
    columns = ["size", "equal", "metric", "a", "b", "difference", "low", "high", "p", "n", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def _pairs(
    size: str,
    equal: str,
    sides_of: Sequence[tuple[str, str]],
    every: Mapping[str, PlannedRun],
    counts: Mapping[tuple[str, str], Counts],
) -> list[tuple[Counts, Counts]]:
    """Return the counts of both sides, seed by seed."""
    found: list[tuple[Counts, Counts]] = []
    methods = {method for method, _ in sides_of}
    trained = {(run.size, run.method, run.equal) for run in every.values()}
    if equal == "text_tokens" and not any((size, method, equal) in trained for method in methods):
        return found
    for seed in sorted({run.seed for run in every.values()}):
        a, b = (counts.get((_name(size, m, equal, seed, every), c)) for m, c in sides_of)
        if a is not None and b is not None:
            found.append((a, b))
    return found


def _name(size: str, method: str, equal: str, seed: int, every: Mapping[str, PlannedRun]) -> str:
    """Return the name of a method's run; plain methods train once, under ``steps``."""
    steps = every.get(f"{size}.{method}.steps.s{seed}")
    plain = steps is not None and steps.settings.get("method") == "none"
    return f"{size}.{method}.{'steps' if plain else equal}.s{seed}"


def _comparison(
    text: str, size: str, equal: str, metric: str, pairs: Sequence[tuple[Counts, Counts]]
) -> dict[str, Any]:
    a, b = (
        sums(metric, pd.concat([pair[n].table for pair in pairs], ignore_index=True))
        for n in (0, 1)
    )
    score = difference(a, b)
    names = sides(text)
    return {
        "size": size, "equal": equal, "metric": metric, "a": names[0], "b": names[1],
        "difference": score.value, "low": score.low, "high": score.high,
        "p": paired_test(a, b), "n": score.n, "seeds": len(pairs),
    }  # fmt: skip
