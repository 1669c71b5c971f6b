"""Anisotropy: how much the hidden states of different texts point in the same direction.

Godey et al. (arXiv 2404.07647) relate saturation to the anisotropy of a layer, the mean cosine
``A(H) = 1 / (|H|^2 - |H|) * sum over i != j of cos(h_i, h_j)``. Here a pair's two states come from
different texts, because states of one text are alike for other reasons. All pairs are counted:
with ``s_u`` the sum of a text's unit vectors and ``n_u`` their number, the mean is

    (||sum_u s_u||^2 - sum_u ||s_u||^2) / ((sum_u n_u)^2 - sum_u n_u^2).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lacy.results import CONFIDENCE, RESAMPLES, Score, percentiles, resampling_weights

Floats = NDArray[np.float64]


def mean_cosine(sums_UD: ArrayLike, counts_U: ArrayLike, *, seed: int = 0) -> Score:
    """Return the mean cosine of two states from different texts; interval over texts.

    Args:
        sums_UD: sum of the unit vectors of each text.
        counts_U: number of these vectors.
        seed: seed of the bootstrap. A text that is drawn twice makes no pair with itself.
    """
    sums = np.asarray(sums_UD, np.float64)
    counts = np.asarray(counts_U, np.float64)
    used = counts > 0
    sums, counts = sums[used], counts[used]
    if len(counts) < 2:
        return Score(math.nan, math.nan, math.nan, len(counts), "cosine")
    cosines_UU, pairs_UU = sums @ sums.T, np.outer(counts, counts)
    np.fill_diagonal(cosines_UU, 0.0)
    np.fill_diagonal(pairs_UU, 0.0)

    def mean(weights_RU: Floats) -> Floats:
        found: Floats = _quadratic(weights_RU, cosines_UU) / _quadratic(weights_RU, pairs_UU)
        return found

    value = float(mean(np.ones((1, len(counts))))[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn_R = mean(resampling_weights(len(counts), RESAMPLES, seed))
    low, high = percentiles(drawn_R, CONFIDENCE, len(counts))
    return Score(value, low, high, len(counts), "cosine")


def _quadratic(weights_RU: Floats, matrix_UU: Floats) -> Floats:
    """Return ``w @ matrix @ w`` for each row of weights."""
    found: Floats = ((weights_RU @ matrix_UU) * weights_RU).sum(1)
    return found
