"""Results of lm-eval's tasks as lacy's results: intervals over documents, lm-eval's numbers beside.

Every value is lm-eval's own, to the digit. Shares of right answers get Wilson intervals, perplexity
and bits per byte bootstrap intervals over documents, other metrics the interval that lm-eval's
standard error gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lacy.results import NO_DATA, Result, Score, ratio, score_sums, wilson

LN2 = math.log(2.0)
_RATES = ("word_perplexity", "byte_perplexity", "bits_per_byte")
"""Metrics of whole texts: lm-eval gives log-likelihood and size of each document."""


@dataclass(frozen=True, slots=True)
class TaskAnswers:
    """One metric of one task."""

    task: str
    metric: str
    filter: str
    """lm-eval's filter of the answers; ``none`` for none."""
    score: Score
    fewshot: int
    stderr: float | None
    """lm-eval's own standard error."""


@dataclass(frozen=True, slots=True)
class TasksMeasured:
    """The outcome of lm-eval's tasks for one model and policy."""

    conditions: Mapping[str, str]
    answers: tuple[TaskAnswers, ...]
    lm_eval: Mapping[str, Any]
    """lm-eval's own results, unchanged: values, standard errors, versions, settings of tasks."""
    calls: Mapping[str, Score] = field(default_factory=dict)
    """Calls per generated answer, and the share of tokens from sources; in a cascade."""
    samples: Mapping[str, Any] = field(default_factory=dict, metadata=NO_DATA)
    """Requests and answers of each document, as lm-eval logs them."""
    seed: int = 0

    def results(self) -> list[Result]:
        """Return every metric of every task."""
        found = [
            Result(
                answer.metric, answer.score.value, answer.score.low, answer.score.high,
                answer.score.n, answer.score.unit, self.seed,
                {
                    **self.conditions, "task": answer.task, "few_shot": str(answer.fewshot),
                    **({} if answer.filter == "none" else {"filter": answer.filter}),
                },
            )
            for answer in self.answers
        ]  # fmt: skip
        return found + [
            Result(
                name, score.value, score.low, score.high, score.n, score.unit, self.seed,
                {**self.conditions, "task": "all"},
            )
            for name, score in self.calls.items()
        ]  # fmt: skip


def read_answers(found: Mapping[str, Any], *, seed: int = 0) -> tuple[TaskAnswers, ...]:
    """Return all metrics in the results of ``lm_eval.simple_evaluate`` that have samples.

    Args:
        found: with samples (``log_samples=True``).
        seed: seed of the bootstrap.
    """
    answers = []
    for task, metrics in found["results"].items():
        samples = found.get("samples", {}).get(task)
        if samples is None:  # a group: its tasks are listed by themselves
            continue
        for key, value in metrics.items():
            metric, _, name = key.partition(",")
            if not name or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            stderr = metrics.get(f"{metric}_stderr,{name}")
            stderr = stderr if isinstance(stderr, float) and math.isfinite(stderr) else None
            given = [sample[metric] for sample in samples if sample["filter"] == name]
            answers.append(
                TaskAnswers(
                    task, metric, name, _score(metric, float(value), given, stderr, seed),
                    int(found["n-shot"].get(task) or 0), stderr,
                )
            )  # fmt: skip
    return tuple(answers)


def _score(
    metric: str, value: float, given: Sequence[Any], stderr: float | None, seed: int
) -> Score:
    """Return lm-eval's value with an interval over documents."""
    if metric in _RATES:
        found = _rate(metric, given, seed)
        return Score(value, found.low, found.high, len(given), _unit(metric))
    numbers = [float(x) for x in given if isinstance(x, int | float)]
    if len(numbers) == len(given) and math.isclose(np.mean(numbers), value, abs_tol=1e-9):
        if set(numbers) <= {0.0, 1.0}:
            found = wilson(int(sum(numbers)), len(numbers))
        else:
            found = ratio(numbers, np.ones(len(numbers)), unit=_unit(metric), seed=seed)
        return Score(value, found.low, found.high, len(numbers), _unit(metric))
    half = math.nan if stderr is None else 1.959963984540054 * stderr
    return Score(value, value - half, value + half, len(given), _unit(metric))


def _rate(metric: str, given: Sequence[tuple[float, int]], seed: int) -> Score:
    """Return a perplexity or bits per byte from log-likelihoods and sizes."""

    def rate(sums: Any) -> Any:
        nats = -sums[:, 0] / sums[:, 1]
        return nats / LN2 if metric == "bits_per_byte" else np.exp(nats)

    return score_sums(np.asarray(given, float), rate, unit=_unit(metric), seed=seed)


def _unit(metric: str) -> str:
    return {"bits_per_byte": "bits per byte"}.get(
        metric, "perplexity" if metric.endswith("perplexity") else "share"
    )


@dataclass(frozen=True, slots=True)
class TaskRuns:
    """The same tasks under several policies."""

    runs: tuple[TasksMeasured, ...]

    def results(self) -> list[Result]:
        """Return the results of all runs."""
        return [result for run in self.runs for result in run.results()]
