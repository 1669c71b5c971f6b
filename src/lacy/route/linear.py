"""Linear heads: ridge regression of each route's target on the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lacy.route.cases import Floats
from lacy.route.features import Matrix

STRENGTHS = {"dense": (1.0, 10.0, 100.0, 1_000.0), "sparse": (0.3, 1.0, 3.0, 10.0)}
"""Strengths of the penalty that are tried, for standardised columns and for rows of length 1."""

_TINY = 1e-6


@dataclass(frozen=True)
class LinearHead:
    """Scores that are linear in the inputs.

    Attributes:
        weight_FR: weights.
        bias_R: offsets.
        mean_F: means of the inputs, subtracted first; empty for sparse inputs.
        scale_F: standard deviations of the inputs.
    """

    weight_FR: Floats
    bias_R: Floats
    mean_F: Floats
    scale_F: Floats

    name = "linear"

    def scores(self, matrix: Matrix) -> Floats:
        """Return the scores ``[N, R]``."""
        if len(self.mean_F):
            matrix = (np.asarray(matrix) - self.mean_F) / self.scale_F
        return np.asarray(matrix @ self.weight_FR) + self.bias_R

    def rounded(self) -> LinearHead:
        """Return the head as its folder would hold it."""
        return linear_from(self.arrays())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its weights: one byte each and a scale per route, or float32 if they are few."""
        found: dict[str, NDArray[Any]] = {
            "bias": self.bias_R, "mean": self.mean_F.astype(np.float32),
            "deviation": self.scale_F.astype(np.float32),
        }  # fmt: skip
        if self.weight_FR.size < 100_000:
            return {**found, "weight": self.weight_FR.astype(np.float32)}
        step_R = np.maximum(np.abs(self.weight_FR).max(0), 1e-12) / 127.0
        rounded = np.round(self.weight_FR / step_R).astype(np.int8)
        return {**found, "weight": rounded, "step": step_R}


def linear_from(arrays: dict[str, NDArray[Any]]) -> LinearHead:
    """Return the head of stored weights."""
    weight_FR = arrays["weight"].astype(np.float64)
    if "step" in arrays:
        weight_FR = weight_FR * arrays["step"].astype(np.float64)
    mean_F, scale_F = (arrays[name].astype(np.float64) for name in ("mean", "deviation"))
    return LinearHead(weight_FR, arrays["bias"].astype(np.float64), mean_F, scale_F)


def fit_linear_head(
    matrix: Matrix, targets_NR: Floats, strength: float, weight_N: Floats | None = None
) -> LinearHead:
    """Fit a ridge regression per route; targets that are NaN are left out of that route.

    Args:
        matrix: inputs; dense columns are standardised.
        targets_NR: targets.
        strength: strength of the penalty.
        weight_N: weights of the cases.
    """
    from sklearn.linear_model import Ridge

    mean_F = scale_F = np.zeros(0)
    if not sparse.issparse(matrix):
        dense = np.asarray(matrix, np.float64)
        mean_F, scale_F = dense.mean(0), dense.std(0)
        scale_F = np.where(scale_F > _TINY, scale_F, 1.0)
        matrix = (dense - mean_F) / scale_F
    weight_FR = np.zeros((matrix.shape[1], targets_NR.shape[1]))
    bias_R = np.zeros(targets_NR.shape[1])
    solver = "sparse_cg" if sparse.issparse(matrix) else "cholesky"
    for routes, rows in _by_mask(~np.isnan(targets_NR)):
        if not rows.any():
            continue
        model = Ridge(alpha=strength, solver=solver, tol=1e-3)
        weights = None if weight_N is None else weight_N[rows]
        whole = bool(rows.all())
        model.fit(matrix if whole else matrix[rows], targets_NR[rows][:, routes], weights)
        weight_FR[:, routes] = np.reshape(model.coef_, (len(routes), -1)).T
        bias_R[routes] = model.intercept_
    return LinearHead(weight_FR, bias_R, mean_F, scale_F)


def _by_mask(known_NR: NDArray[np.bool_]) -> list[tuple[list[int], NDArray[np.bool_]]]:
    """Group routes whose known cases are the same."""
    groups: dict[bytes, list[int]] = {}
    for route in range(known_NR.shape[1]):
        groups.setdefault(known_NR[:, route].tobytes(), []).append(route)
    return [(routes, known_NR[:, routes[0]]) for routes in groups.values()]
