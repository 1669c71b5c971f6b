"""Fit the ``<CALL>`` row as a gate by logistic regression, and cross-validate it by articles.

The head has no bias, so the row itself must express the base rate. It can, because the hidden
states of a language model have a large constant part. So features are divided by their standard
deviation but not centred, and the regression has no intercept. On SmolLM2-135M this is as good as a
regression with intercept, in AUROC and calibration (``docs/results/tune.md``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lacy.errors import LacyError

FOLDS, FEW_FOLDS = 10, 5
"""Number of groups of articles that are scored in turn, and the number for few articles."""

ALL_FOLDS_FROM = 50
"""Minimum number of articles for ``FOLDS`` groups. With fewer, a tenth of the articles has too few
misses to fit the weights of ``gate+entropy``."""

MAX_ITERATIONS = 1000

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Fold:
    """One turn: the rows to fit on, and two disjoint sets of rows of other articles."""

    fit: NDArray[np.int64]
    mix: NDArray[np.int64]
    """Rows on which the weights of a combination of signals are fitted."""
    report: NDArray[np.int64]
    """Rows that are scored for the report."""


def folds(article_N: NDArray[np.int64], *, seed: int) -> Iterator[Fold]:
    """Yield the turns of a cross-validation by articles; every article is reported once.

    Args:
        article_N: index of each row's article.
        seed: seed of the assignment of articles to groups.
    """
    articles = int(article_N.max()) + 1
    count = FOLDS if articles >= ALL_FOLDS_FROM else min(FEW_FOLDS, articles)
    group_N = (np.random.default_rng(seed).permutation(articles) % count)[article_N]
    for number in range(count):
        report, mix = group_N == number, group_N == (number + 1) % count
        yield Fold(np.flatnonzero(~report & ~mix), np.flatnonzero(mix), np.flatnonzero(report))


def fit_row(hidden_ND: NDArray[np.float32], due_N: Flags, inverse_penalty: float) -> Floats:
    """Return the row ``w_D`` such that ``sigmoid(hidden @ w)`` is the probability of a call.

    Args:
        hidden_ND: last hidden states.
        due_N: True where a call is due.
        inverse_penalty: C of the logistic regression.

    Raises:
        LacyError: E164, a call is due nowhere or everywhere.
    """
    scale_D = _scale(hidden_ND)
    return _regression(hidden_ND / scale_D, due_N, inverse_penalty, intercept=False)[0] / scale_D


def fit_linear(
    features_ND: NDArray[np.float32], due_N: Flags, inverse_penalty: float
) -> Callable[[NDArray[np.float32]], Floats]:
    """Return a function that scores features by a logistic regression with intercept."""
    mean_D, scale_D = features_ND.mean(0), _scale(features_ND)
    weights_D, bias = _regression(
        (features_ND - mean_D) / scale_D, due_N, inverse_penalty, intercept=True
    )
    return lambda rows_ND: (rows_ND - mean_D) / scale_D @ weights_D + bias


def _regression(
    features_ND: NDArray[np.floating], due_N: Flags, inverse_penalty: float, *, intercept: bool
) -> tuple[Floats, float]:
    from sklearn.linear_model import LogisticRegression

    if due_N.all() or not due_N.any():
        raise LacyError("E165", due=int(due_N.sum()), tokens=len(due_N))
    fitted = LogisticRegression(
        C=inverse_penalty, fit_intercept=intercept, max_iter=MAX_ITERATIONS
    ).fit(features_ND, due_N)
    return fitted.coef_[0].astype(np.float64), float(fitted.intercept_[0]) if intercept else 0.0


def _scale(features_ND: NDArray[np.float32]) -> Floats:
    """Return the standard deviation of each feature; 1 where a feature is constant."""
    deviation_D = features_ND.std(0, dtype=np.float64)
    return np.where(deviation_D > 1e-6 * max(float(deviation_D.max()), 1e-30), deviation_D, 1.0)
