"""Linear heads: ridge regression of each route's target on the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lacy.route.cases import Floats
from lacy.route.features import Matrix

STRENGTHS = {"dense": (10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0), "sparse": (0.3, 1.0, 3.0, 10.0)}
"""Strengths of the penalty that are tried, for standardised columns and for rows of length 1."""

FEW_WEIGHTS = 100_000
"""Up to this number of weights, they are stored as float32."""

STEPS, TOLERANCE = 50, 1e-3
"""Steps of conjugate gradients at most, and the residual at which they end."""

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
        if self.weight_FR.size <= FEW_WEIGHTS:
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


def fit_linear_heads(
    matrix: Matrix, targets_NR: Floats, strengths: Sequence[float], weight_N: Floats | None = None
) -> list[LinearHead]:
    """Fit a ridge regression per route for each strength of the penalty.

    Targets that are NaN are left out of that route. Dense columns are standardised. All strengths
    together cost about as much as one: a dense matrix is decomposed once, and for a sparse one the
    same conjugate gradients solve all of them.

    Args:
        matrix: inputs.
        targets_NR: targets.
        strengths: strengths of the penalty, rising.
        weight_N: how much each case counts; None for all alike.
    """
    weights_N = np.ones(len(targets_NR)) if weight_N is None else weight_N
    is_sparse = sparse.issparse(matrix)
    mean_F = scale_F = np.zeros(0)
    if not is_sparse:
        dense = np.asarray(matrix, np.float64)
        mean_F, scale_F = dense.mean(0), dense.std(0)
        scale_F = np.where(scale_F > _TINY, scale_F, 1.0)
        matrix = (dense - mean_F) / scale_F
    weight_SFR = np.zeros((len(strengths), matrix.shape[1], targets_NR.shape[1]))
    bias_SR = np.zeros((len(strengths), targets_NR.shape[1]))
    for routes, rows in _by_mask(~np.isnan(targets_NR)):
        if rows.any():
            mine, target_NR = matrix[rows], targets_NR[rows][:, routes]
            share_N = weights_N[rows] / weights_N[rows].sum()
            mean_R = share_N @ target_NR
            # Rows of n-grams are not centred: that would make them dense.
            center_F = np.zeros(mine.shape[1]) if is_sparse else share_N @ mine
            solve = sparse_ridges if is_sparse else dense_ridges
            inputs, target_NR = mine if is_sparse else mine - center_F, target_NR - mean_R
            if weight_N is not None:  # a weight of w is a case that occurs w times
                roots_N1 = np.sqrt(share_N * len(share_N))[:, None]
                inputs = inputs.multiply(roots_N1).tocsr() if is_sparse else inputs * roots_N1
                target_NR = target_NR * roots_N1
            found_SFR = solve(inputs, target_NR, strengths)
            weight_SFR[:, :, routes] = found_SFR
            bias_SR[:, routes] = mean_R - np.einsum("f,sfr->sr", center_F, found_SFR)
    return [LinearHead(weight_FR, bias_R, mean_F, scale_F)
            for weight_FR, bias_R in zip(weight_SFR, bias_SR, strict=True)]  # fmt: skip


def dense_ridges(matrix_NF: Floats, targets_NR: Floats, strengths: Sequence[float]) -> Floats:
    """Return ridge weights ``[S, F, R]`` without offset, from the eigenvectors of ``X'X``."""
    values_F, vectors_FF = np.linalg.eigh(matrix_NF.T @ matrix_NF)
    turned_FR = vectors_FF.T @ (matrix_NF.T @ targets_NR)
    scaled = [turned_FR / (np.maximum(values_F, 0.0) + one)[:, None] for one in strengths]
    return np.stack([vectors_FF @ one for one in scaled])


def sparse_ridges(matrix: Matrix, targets_NR: Floats, strengths: Sequence[float]) -> Floats:
    """Return ridge weights ``[S, F, R]`` without offset, by conjugate gradients on ``XX'``.

    The systems ``(XX' + strength) a = y`` of all strengths have the same Krylov space, so the
    gradients of the weakest one solve all (Jegerlehner, hep-lat/9612014); each route has its own
    step sizes.

    Args:
        matrix: inputs ``[N, F]``.
        targets_NR: targets.
        strengths: strengths of the penalty, rising.
    """
    shifts_S11 = (np.array(strengths) - strengths[0])[:, None, None]
    turned = matrix.T.tocsr()
    residual_NR = targets_NR.astype(np.float64)
    direction_NR = residual_NR.copy()
    found_SNR = np.zeros((len(strengths), *targets_NR.shape))
    direction_SNR = np.repeat(direction_NR[None], len(strengths), 0)
    factor_S1R = before_S1R = np.ones((len(strengths), 1, targets_NR.shape[1]))
    square_R = (residual_NR**2).sum(0)
    goal_R = square_R * TOLERANCE**2
    last_R, ratio_R = np.ones_like(square_R), np.zeros_like(square_R)
    for _ in range(STEPS):
        if (square_R <= goal_R).all():
            break
        product_NR = matrix @ (turned @ direction_NR) + strengths[0] * direction_NR
        step_R = square_R / np.maximum((direction_NR * product_NR).sum(0), 1e-300)
        after_S1R = before_S1R * factor_S1R * last_R / np.maximum(
            step_R * ratio_R * (before_S1R - factor_S1R)
            + before_S1R * last_R * (1.0 + shifts_S11 * step_R), 1e-300,
        )  # fmt: skip
        gain_S1R = after_S1R / np.maximum(factor_S1R, 1e-300)
        found_SNR += step_R * gain_S1R * direction_SNR
        residual_NR = residual_NR - step_R * product_NR
        fresh_R = (residual_NR**2).sum(0)
        ratio_R = fresh_R / np.maximum(square_R, 1e-300)
        direction_NR = residual_NR + ratio_R * direction_NR
        direction_SNR = after_S1R * residual_NR + ratio_R * gain_S1R**2 * direction_SNR
        before_S1R, factor_S1R = factor_S1R, after_S1R
        square_R, last_R = fresh_R, step_R
    return np.stack([turned @ one for one in found_SNR])


def _by_mask(known_NR: NDArray[np.bool_]) -> list[tuple[list[int], NDArray[np.bool_]]]:
    """Group routes whose known cases are the same."""
    groups: dict[bytes, list[int]] = {}
    for route in range(known_NR.shape[1]):
        groups.setdefault(known_NR[:, route].tobytes(), []).append(route)
    return [(routes, known_NR[:, routes[0]]) for routes in groups.values()]
