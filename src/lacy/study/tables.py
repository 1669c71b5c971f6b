"""Tidy tables from the files of single models: one value per row, pooled rows, comparisons.

Metrics of answers are ratios of sums over people. Over several seeds, the people of all seeds are
pooled (each seed has its own world, so they are different people), and intervals cover the
variation of both people and models. Metrics of a model itself (AUROC, closed-book recall, bits) are
averaged over seeds, with the t interval of the mean.
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
from lacy.results import (
    CONFIDENCE,
    MODEL_METRICS,
    Score,
    difference,
    model_scores,
    paired_test,
    ratio_scores,
    ratio_sums,
    recovered_share,
)
from lacy.run import environment, read_metrics, write_atomic
from lacy.study import work
from lacy.study.plan import PlannedRun, StudyPlan, comparison_sides, planned_runs

RUN_COLUMNS = ("run", "size", "method", "equal", "seed")
"""Columns that identify a run, in every table."""
POOLED = -1
"""Value of ``seed`` in rows that pool all seeds."""


@dataclass(frozen=True)
class Counts:
    """The counts of each person that a model was asked about, under one condition."""

    people: tuple[str, ...]
    table: pd.DataFrame

    def pair(self, top: str, bottom: str) -> tuple[Any, Any]:
        """Return two counts of each person, such as numerators and denominators."""
        return self.table[top].to_numpy(float), self.table[bottom].to_numpy(float)


def write_world_tables(plan: StudyPlan) -> dict[str, pd.DataFrame]:
    """Write the tables of all finished runs into the study's folder.

    Returns:
        The tables: results, runs, people, curves, comparisons.
    """
    runs = {run.name: run for run in planned_runs(plan)}
    done = [run for run in runs.values() if work.trained(plan, run)]
    counts = {
        (run.name, condition): _counts(file)
        for run in done
        for condition in run.conditions
        if (file := work.condition_file(plan, run, condition, runs)).exists()
    }
    tables = {
        "runs": _runs(plan, done),
        "results": _results(plan, done, counts),
        "people": _people(done, counts),
        "curves": _curves(plan, done),
        "comparisons": _comparisons(plan, runs, counts),
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
    """Return the scores of each run, followed by the scores pooled over seeds."""
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
                rows += score_rows(columns, condition, scores)
        rows += score_rows(
            columns, "", mean_model_scores([_model_metrics(plan, run) for run in runs])
        )
    names = (*RUN_COLUMNS, "condition", "metric", "value", "low", "high", "n", "unit")
    return pd.DataFrame(rows, columns=names)


def score_rows(
    columns: Mapping[str, Any], condition: str, scores: Mapping[str, Score]
) -> list[dict[str, Any]]:
    """Return a row per score that is defined."""
    return [
        {**columns, "condition": condition, "metric": name, **asdict(score)}
        for name, score in scores.items()
        if math.isfinite(score.value)
    ]


def _groups(done: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    """Group runs that differ only in their seed."""
    groups: dict[tuple[str, str, str], list[PlannedRun]] = {}
    for run in done:
        groups.setdefault((run.size, run.method, run.equal), []).append(run)
    return list(groups.values())


Baselines = tuple[Counts, Counts] | None
"""Counts of the model alone and of the partner (see ``plan.Advantage``)."""


def _baselines(
    plan: StudyPlan, run: PlannedRun, counts: Mapping[tuple[str, str], Counts]
) -> Baselines:
    """Return the counts of the recovered share's baselines for the size and seed of a run.

    Returns None if either is missing.
    """
    both = []
    for side in (plan.advantage.alone, plan.advantage.partner):
        method, _, condition = side.partition("/")
        both.append(counts.get((work.partner_name(run, method), condition)))
    alone, partner = both
    return (alone, partner) if alone and partner else None


def condition_scores(
    asked: Sequence[Counts], baselines: Sequence[Baselines] = (), *, seed: int = 0
) -> dict[str, Score]:
    """Return the scores of one condition over the people of one or several models.

    Args:
        asked: the counts of each model.
        baselines: for each model, the counts of its baselines, or None; the recovered share is
            computed only if all models have them.
        seed: seed of the bootstrap.
    """
    table = pd.concat([counts.table for counts in asked], ignore_index=True)
    scores = ratio_scores(table, seed=seed)
    with_baselines = [
        (counts, pair) for counts, pair in zip(asked, baselines, strict=False) if pair
    ]
    if with_baselines and len(with_baselines) == len(asked):
        pairs = [
            _right_and_all([counts for counts, _ in with_baselines]),
            _right_and_all([pair[0] for _, pair in with_baselines]),
            _right_and_all([pair[1] for _, pair in with_baselines]),
        ]
        scores["recovered"] = recovered_share(*pairs, seed=seed)
    return scores


def _right_and_all(asked: Sequence[Counts]) -> tuple[Any, Any]:
    """Return the right claims and all claims of each person, the models one after the other."""
    pairs = [counts.pair("right", "claims") for counts in asked]
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])


def _model_metrics(plan: StudyPlan, run: PlannedRun) -> dict[str, Score]:
    """Return the metrics of a model itself."""
    file = work.reading_file(plan, run)
    if not file.exists():
        return {}
    return model_scores(work.read_object(file))


def mean_model_scores(seeds_scores: Sequence[Mapping[str, Score]]) -> dict[str, Score]:
    """Return means over seeds with t intervals; the scores of a single seed are returned as is."""
    names = [name for name in MODEL_METRICS if all(name in scores for scores in seeds_scores)]
    if len(seeds_scores) == 1:
        return dict(seeds_scores[0])
    return {name: _mean([scores[name] for scores in seeds_scores]) for name in names}


def _mean(scores: Sequence[Score]) -> Score:
    """Return the mean with its t interval."""
    from scipy import stats

    values = np.array([score.value for score in scores])
    error = values.std(ddof=1) / math.sqrt(len(values))
    half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * error)
    mean = float(values.mean())
    return Score(mean, mean - half_width, mean + half_width, len(values), scores[0].unit)


# --------------------------------------------------------------------------- people and curves


def _people(done: Sequence[PlannedRun], counts: Mapping[tuple[str, str], Counts]) -> pd.DataFrame:
    """Return the counts of each person as a table, with run, condition and seed."""
    parts = []
    seeds = {run.name: run.seed for run in done}
    for (run, condition), person_counts in counts.items():
        columns = {"run": run, "condition": condition, "seed": seeds[run]}
        people = pd.DataFrame({**columns, "person": list(person_counts.people)})
        parts.append(pd.concat([people, person_counts.table], axis=1))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["run"])


def _curves(plan: StudyPlan, done: Sequence[PlannedRun]) -> pd.DataFrame:
    """Return the points of each model's curves: calibration, selection turnover and loss."""
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
    plan: StudyPlan, runs: Mapping[str, PlannedRun], counts: Mapping[tuple[str, str], Counts]
) -> pd.DataFrame:
    """Return each comparison of the plan per size, over the people of all seeds of both sides."""
    rows = []
    for text in plan.compare:
        both_sides = [side.partition("/")[::2] for side in comparison_sides(text)]
        for size in plan.sizes:
            for equal in ("steps", "text_tokens"):
                pairs = _pairs(size, equal, both_sides, runs, counts)
                for metric in plan.metrics if pairs else ():
                    rows.append(_comparison(text, size, equal, metric, pairs))
    columns = ["size", "equal", "metric", "a", "b", "difference", "low", "high", "p", "n", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def _pairs(
    size: str,
    equal: str,
    both_sides: Sequence[tuple[str, str]],
    runs: Mapping[str, PlannedRun],
    counts: Mapping[tuple[str, str], Counts],
) -> list[tuple[Counts, Counts]]:
    """Return the counts of both sides for each seed that has both."""
    pairs: list[tuple[Counts, Counts]] = []
    methods = {method for method, _ in both_sides}
    trained = {(run.size, run.method, run.equal) for run in runs.values()}
    if equal == "text_tokens" and not any((size, method, equal) in trained for method in methods):
        return pairs
    for seed in sorted({run.seed for run in runs.values()}):
        a, b = (counts.get((_name(size, m, equal, seed, runs), c)) for m, c in both_sides)
        if a is not None and b is not None:
            pairs.append((a, b))
    return pairs


def _name(size: str, method: str, equal: str, seed: int, runs: Mapping[str, PlannedRun]) -> str:
    """Return the name of a method's run; plain methods train once, under ``steps``."""
    steps = runs.get(f"{size}.{method}.steps.s{seed}")
    plain = steps is not None and steps.settings.get("method") == "none"
    return f"{size}.{method}.{'steps' if plain else equal}.s{seed}"


def _comparison(
    text: str, size: str, equal: str, metric: str, pairs: Sequence[tuple[Counts, Counts]]
) -> dict[str, Any]:
    a, b = (
        ratio_sums(metric, pd.concat([pair[n].table for pair in pairs], ignore_index=True))
        for n in (0, 1)
    )
    score = difference(a, b)
    names = comparison_sides(text)
    return {
        "size": size, "equal": equal, "metric": metric, "a": names[0], "b": names[1],
        "difference": score.value, "low": score.low, "high": score.high,
        "p": paired_test(a, b), "n": score.n, "seeds": len(pairs),
    }  # fmt: skip
