"""Measure how well signals find value starts and misses, with intervals over articles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lacy.evaluate import CallCalibration, calibration_of
from lacy.results import Score, auroc, ratio
from lacy.types import MarkFlag

RATES = (0.09, 0.11, 0.22)
"""Call rates at which recall is reported: about the share of first mentions, the share of value
starts, and the paper's call rate."""

KINDS = ("DATE", "ENTITY", "NUMBER", "KEYWORD", "VALUE")
"""Kinds of values, as in ``Mark.reason``."""

MIN_KIND = 20
"""Kinds with fewer value starts are not listed."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class AtRate:
    """Quality of calls at a given share of positions, those with the highest values of a signal."""

    rate: float
    limit: float
    """Calls are made where the signal exceeds this value."""
    recall: Score
    """Share of the due calls that are made."""
    precision: Score
    """Share of the calls that are due."""


@dataclass(frozen=True)
class SignalFigures:
    """How well one signal ranks positions where a call is due above the others."""

    auroc: Score
    at: tuple[AtRate, ...]
    """One entry per rate of ``RATES``."""


@dataclass(frozen=True)
class TuneFigures:
    """Figures measured on articles that the scoring rows had not been fitted on."""

    articles: int
    tokens: int
    """Number of predicted tokens."""
    starts: int
    """Number of tokens that begin a value."""
    due: int
    """Number of tokens at which a call is due, by the target of the tuning."""
    misses: int
    """Number of first mentions that the model gets wrong."""
    target: dict[str, SignalFigures]
    """Figures for the target of the tuning, by signal: the row and its controls."""
    missed: dict[str, SignalFigures]
    """Figures for misses, by signal."""
    kinds: dict[str, dict[str, Score]]
    """AUROC of the starts of each kind of value against all tokens that start none, by signal."""
    calibration: CallCalibration
    """Calibration of the gate as the probability that a call is due."""


def signal_figures(
    values_N: Floats, due_N: Flags, article_N: NDArray[np.int64], *, seed: int = 0
) -> SignalFigures:
    """Measure one signal.

    Args:
        values_N: the signal at each position; higher values favour a call.
        due_N: True where a call is due.
        article_N: index of each position's article; articles are resampled for intervals.
        seed: seed of the bootstrap.
    """
    values, due = split_by_article(values_N, article_N), split_by_article(due_N, article_N)
    at = []
    for rate in RATES:
        limit = limit_at(values_N, rate)
        calls = [v > limit for v in values]
        hits = [int((c & d).sum()) for c, d in zip(calls, due, strict=True)]
        at.append(
            AtRate(
                rate, limit,
                recall=ratio(hits, [int(d.sum()) for d in due], seed=seed),
                precision=ratio(hits, [int(c.sum()) for c in calls], seed=seed),
            )
        )  # fmt: skip
    return SignalFigures(auroc(values, due, seed=seed), tuple(at))


def limit_at(values_N: Floats, rate: float) -> float:
    """Return the value that the share ``rate`` of the positions exceeds."""
    return float(np.quantile(values_N, 1.0 - rate, method="higher"))


def kind_figures(
    signals: Mapping[str, Floats],
    marks_N: NDArray[np.uint8],
    article_N: NDArray[np.int64],
    *,
    seed: int = 0,
) -> dict[str, dict[str, Score]]:
    """Return the AUROC of each signal for the value starts of each kind."""
    start_N = (marks_N & MarkFlag.START) > 0
    found: dict[str, dict[str, Score]] = {}
    for kind in KINDS:
        due_N = start_N & ((marks_N & MarkFlag[kind]) > 0)
        if due_N.sum() < MIN_KIND:
            continue
        kept_N = due_N | ~start_N
        articles = article_N[kept_N]
        found[kind] = {
            name: auroc(
                split_by_article(values_N[kept_N], articles),
                split_by_article(due_N[kept_N], articles),
                seed=seed,
            )
            for name, values_N in signals.items()
        }
    return found


def gate_calibration(
    gate_N: Floats, due_N: Flags, article_N: NDArray[np.int64], *, seed: int = 0
) -> CallCalibration:
    """Return the calibration error of ``sigmoid(gate)`` as the probability of a due call."""
    p_N = 1.0 / (1.0 + np.exp(-gate_N))
    parts = split_by_article(p_N, article_N), split_by_article(due_N, article_N)
    return calibration_of(*parts, seed=seed)


def split_by_article(values_N: NDArray, article_N: NDArray[np.int64]) -> list[NDArray]:
    """Split an array with one entry per position into one array per article."""
    return np.split(values_N, np.flatnonzero(np.diff(article_N)) + 1)
