"""Fit the weights of the signal ``gate+entropy`` to the values that a model gets wrong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lacy.cascade import GateEntropy, log_entropy

MIN_MISSES = 10
"""Minimum number of misses for fitting the four weights."""

DEFAULT_RATE = 0.09
"""Share of positions at which the policy ``gate+entropy`` calls: about that of first mentions. With
values of two tokens, this is the paper's share of tokens, 22%."""

INVERSE_PENALTY = 1000.0
"""C of the regression: practically no penalty, because four weights do not overfit."""


def fit_gate_entropy(
    gate_N: NDArray[np.float64], entropy_N: NDArray[np.floating], missed_N: NDArray[np.bool_]
) -> GateEntropy | None:
    """Return the weights, or None if there are too few misses.

    Args:
        gate_N: logits of a gate at positions of articles that it was not fitted on.
        entropy_N: entropies of the model's predictions there, in nats.
        missed_N: True where the model gets a value wrong.
    """
    from sklearn.linear_model import LogisticRegression

    if missed_N.sum() < MIN_MISSES or (~missed_N).sum() < MIN_MISSES:
        return None
    log_N = log_entropy(entropy_N)
    fitted = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(
        np.stack([gate_N, log_N, gate_N * log_N], 1), missed_N
    )
    return GateEntropy(float(fitted.intercept_[0]), *map(float, fitted.coef_[0]))
