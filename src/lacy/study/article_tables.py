"""Write tidy tables of a study on articles, with the same columns as for made-up worlds.

All models continue the same articles, so several seeds of a method are averaged article by article
before articles are resampled: the intervals cover the choice of articles, and the rows of single
seeds show how much models differ.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeAlias

import pandas as pd

from lacy.results import difference, model_scores, paired_test, ratio_scores, ratio_sums
from lacy.run import environment, write_atomic
from lacy.study.article_plan import ArticleRun, ArticleStudyPlan, article_runs
from lacy.study.article_work import answers_file, measurements_file
from lacy.study.plan import StudyPlan, comparison_sides
from lacy.study.tables import (
    POOLED,
    RUN_COLUMNS,
    mean_model_scores,
    score_rows,
    write_world_tables,
)
from lacy.study.work import read_object

Counted: TypeAlias = Mapping[tuple[str, int, str], pd.DataFrame]
"""Counts per article, by method, seed and condition."""


def write_article_tables(plan: ArticleStudyPlan) -> dict[str, pd.DataFrame]:
    """Write tables of all finished jobs into the study's folder.

    Returns:
        The tables: results, runs, articles, comparisons.
    """
    runs = article_runs(plan)
    counted = {
        (run.method, run.seed, name): _counts(read_object(file))
        for run in runs
        for name in run.settings.conditions or ()
        if (file := answers_file(plan, run, name)).exists()
    }
    measured = {
        (run.method, run.seed): model_scores(read_object(file))
        for run in runs
        if (file := measurements_file(plan, run)).exists()
    }
    done = {key[:2] for key in (*counted, *measured)}
    finished = [run for run in runs if (run.method, run.seed) in done]
    tables = {
        "runs": pd.DataFrame([{**_columns(plan, run), **_tune_columns(run)} for run in finished]),
        "results": _results(plan, finished, counted, measured),
        "articles": _articles(counted),
        "comparisons": _comparisons(plan, counted),
    }
    for name, table in tables.items():
        write_atomic(plan.out / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    settings = (
        "model",
        "people",
        "calibration",
        "prompt_words",
        "max_new_tokens",
        "pipeline",
        "dtype",
    )
    setup = {
        **environment(), **{name: getattr(plan, name) for name in settings},
        "articles": plan.articles.name, "tune_on": plan.tune_on and plan.tune_on.name,
        "call_rate": plan.call_rate, "seeds": sorted({run.seed for run in finished}),
        "conditions": {name: asdict(plan.condition(name)) for name in plan.conditions},
        "runs": len(finished),
    }  # fmt: skip
    write_atomic(plan.out / "setup.json", json.dumps(setup, indent=2) + "\n")
    return tables


def _counts(data: Mapping[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(data["counts"], index=pd.Index(data["articles"], name="article"))


def _columns(plan: ArticleStudyPlan, run: ArticleRun) -> dict[str, Any]:
    """Return the values of ``RUN_COLUMNS``; a model's name stands for its size."""
    size = plan.method(run.method).model
    return dict(zip(RUN_COLUMNS, (run.name, size, run.method, "steps", run.seed), strict=True))


def _tune_columns(run: ArticleRun) -> dict[str, Any]:
    """Return the settings of tuning and the column ``objective`` (``none`` for a plain method)."""
    tune = run.settings.tune
    return {"objective": "none" if tune is None else "tuned", **(tune or {})}


def _results(
    plan: ArticleStudyPlan,
    runs: Sequence[ArticleRun],
    counted: Counted,
    measured: Mapping[tuple[str, int], Any],
) -> pd.DataFrame:
    """Return the scores of each run, followed by those of each method over its seeds."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        columns = _columns(plan, run)
        for name in run.settings.conditions or ():
            table = counted.get((run.method, run.seed, name))
            if table is not None:
                rows += score_rows(columns, name, ratio_scores(table, seed=run.seed))
        rows += score_rows(columns, "", measured.get((run.method, run.seed), {}))
    for method in dict.fromkeys(run.method for run in runs):
        own = [run for run in runs if run.method == method]
        columns = {**_columns(plan, own[0]), "run": method, "seed": POOLED}
        for name in own[0].settings.conditions or ():
            table = _mean_counts(counted, method, name)
            if table is not None:
                rows += score_rows(columns, name, ratio_scores(table))
        scores = [measured[method, run.seed] for run in own if (method, run.seed) in measured]
        if scores:
            rows += score_rows(columns, "", mean_model_scores(scores))
    names = (*RUN_COLUMNS, "condition", "metric", "value", "low", "high", "n", "unit")
    return pd.DataFrame(rows, columns=names)


def _mean_counts(counted: Counted, method: str, condition: str) -> pd.DataFrame | None:
    """Return each article's counts, averaged over the seeds of a method."""
    tables = [t for (m, _, c), t in counted.items() if (m, c) == (method, condition)]
    if not tables:
        return None
    mean: pd.DataFrame = pd.concat(tables).groupby(level="article", sort=False).mean()
    return mean


def _articles(counted: Counted) -> pd.DataFrame:
    """Return the counts of each article with method, seed and condition."""
    parts = []
    for (method, seed, condition), table in counted.items():
        columns = {"method": method, "seed": seed, "condition": condition}
        parts.append(table.reset_index().assign(**columns))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["method"])


def _comparisons(plan: ArticleStudyPlan, counted: Counted) -> pd.DataFrame:
    """Return each comparison of the plan whose sides are both finished, paired by article."""
    rows: list[dict[str, Any]] = []
    for text in plan.compare:
        sides = [side.partition("/")[::2] for side in comparison_sides(text)]
        tables = [_mean_counts(counted, method, condition) for method, condition in sides]
        if tables[0] is None or tables[1] is None:
            continue
        a, b = tables[0].align(tables[1], join="inner", axis=0)
        for metric in plan.metrics:
            pair = [tuple(map(pd.Series.to_numpy, ratio_sums(metric, t))) for t in (a, b)]
            score = difference(*pair)
            if math.isfinite(score.value):
                names = comparison_sides(text)
                seeds = len({seed for method, seed, _ in counted if method == sides[0][0]})
                rows.append({
                    "size": plan.method(sides[0][0]).model, "equal": "steps", "metric": metric,
                    "a": names[0], "b": names[1], "difference": score.value, "low": score.low,
                    "high": score.high, "p": paired_test(*pair), "n": score.n, "seeds": seeds,
                })  # fmt: skip
    columns = ["size", "equal", "metric", "a", "b", "difference", "low", "high", "p", "n", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def write_tables(plan: StudyPlan | ArticleStudyPlan) -> dict[str, pd.DataFrame]:
    """Write the tables of a study's finished runs into its folder, and return them by name."""
    if isinstance(plan, ArticleStudyPlan):
        return write_article_tables(plan)
    return write_world_tables(plan)
