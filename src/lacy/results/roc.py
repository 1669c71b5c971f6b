"""The area under the ROC curve of a signal, with an interval over documents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lacy.results.statistics import (
    CONFIDENCE,
    RESAMPLES,
    Floats,
    Score,
    percentiles,
    random_groups,
    resampling_weights,
)

MAX_AUROC_UNITS = 1_000
"""If there are more documents, this many random groups are resampled, because the cost is quadratic
in the number of units."""


def auroc(
    scores: Sequence[ArrayLike],
    labels: Sequence[ArrayLike],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Score:
    """Return the AUROC of a signal; documents are resampled for the interval.

    Args:
        scores: one array per document; higher values should mean positive. Infinities are allowed.
        labels: True for positives, one array per document.
        resamples: number of bootstrap draws.
        confidence: confidence level of the interval.
        seed: seed of the random draws.

    Raises:
        ValueError: a score is NaN, or an array and its labels differ in length.
    """
    from sklearn.metrics import roc_auc_score

    values = [np.asarray(document, float) for document in scores]
    truth = [np.asarray(document, bool) for document in labels]
    if [len(v) for v in values] != [len(t) for t in truth]:
        raise ValueError("scores and labels differ in length")
    flat = np.concatenate(values) if values else np.empty(0)
    if np.isnan(flat).any():
        raise ValueError("a score is NaN")
    flat_truth = np.concatenate(truth) if truth else np.empty(0, bool)
    if not flat_truth.any() or flat_truth.all():
        return Score(math.nan, math.nan, math.nan, len(values), "AUROC")
    ranks = np.unique(flat, return_inverse=True)[1]
    value = float(roc_auc_score(flat_truth, ranks))
    if len(values) == 1:
        return Score(value, math.nan, math.nan, 1, "AUROC")
    documents = np.repeat(np.arange(len(values)), [len(v) for v in values])
    if len(values) > MAX_AUROC_UNITS:
        documents = random_groups(len(values), MAX_AUROC_UNITS, seed)[documents]
    wins_DD, positives_D, negatives_D = _pairs(ranks, flat_truth, documents)
    weights_RD = resampling_weights(len(positives_D), resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn_R = ((weights_RD @ wins_DD) * weights_RD).sum(1) / (
            (weights_RD @ positives_D) * (weights_RD @ negatives_D)
        )
    low, high = percentiles(drawn_R, confidence, len(positives_D))
    return Score(value, low, high, len(values), "AUROC")


def _pairs(
    ranks_N: NDArray[np.int64], truth_N: NDArray[np.bool_], document_N: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """Count how often document i's positives outrank document j's negatives (ties count half).

    With these counts, the AUROC under any weighting of documents is a quadratic form in the
    weights, so the bootstrap need not go over the tokens again.
    """
    size = int(document_N.max()) + 1
    positive_ranks, positive_documents = ranks_N[truth_N], document_N[truth_N]
    wins_DD = np.zeros((size, size))
    order = np.lexsort((ranks_N[~truth_N], document_N[~truth_N]))
    negative_ranks, negative_documents = ranks_N[~truth_N][order], document_N[~truth_N][order]
    starts = np.searchsorted(negative_documents, np.arange(size + 1))
    for j in range(size):
        negatives = negative_ranks[starts[j] : starts[j + 1]]
        below = np.searchsorted(negatives, positive_ranks, "left")
        below_or_equal = np.searchsorted(negatives, positive_ranks, "right")
        wins_DD[:, j] = np.bincount(
            positive_documents, (below + below_or_equal) / 2.0, minlength=size
        )
    positives_D = np.bincount(positive_documents, minlength=size).astype(float)
    negatives_D = np.bincount(negative_documents, minlength=size).astype(float)
    return wins_DD, positives_D, negatives_D
