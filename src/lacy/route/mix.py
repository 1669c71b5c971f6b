"""Combine the scores of parts into calibrated probabilities, fitted on held-out scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lacy.route.cases import CaseKind, Floats

PENALTY = 1.0
"""Strength of the penalty of the weights of standardised scores (as scikit-learn's C = 1)."""

_CLIP = 30.0


@dataclass(frozen=True)
class RouteMix:
    """Probabilities from the scores of parts: ``link(sum_p weight_PR score_PNR + bias_R)``.

    With one part, this is Platt scaling (1999): a slope and an offset. With several, it is
    stacking (Wolpert, 1992). Weights are at least 0, so that no part's order is reversed. For
    classes, the link is softmax and all routes share the weights; for outcomes, it is the logistic
    function and each route has its own.

    Attributes:
        kind: classes or outcomes.
        weight_PR: weights.
        bias_R: offsets.
        steps: for isotonic calibration, ``[2, K]`` of each route: points of a rising function that
            the probabilities are passed through; else empty.
    """

    kind: CaseKind
    weight_PR: Floats
    bias_R: Floats
    steps: tuple[Floats, ...] = ()

    def probabilities(self, scores_PNR: Floats) -> Floats:
        """Return the probability of each route ``[N, R]``; those of classes add up to 1."""
        found_NR = _link(self.kind, self._logits(scores_PNR))
        if self.steps:
            found_NR = np.stack(
                [np.interp(found_NR[:, route], *one) for route, one in enumerate(self.steps)], 1
            )
            if self.kind == "classes":
                found_NR = found_NR / np.maximum(found_NR.sum(1, keepdims=True), 1e-9)
        return found_NR

    def _logits(self, scores_PNR: Floats) -> Floats:
        logits: Floats = np.einsum("pr,pnr->nr", self.weight_PR, scores_PNR) + self.bias_R
        return logits

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its arrays."""
        found: dict[str, NDArray[Any]] = {"weight": self.weight_PR, "bias": self.bias_R}
        return {**found, **{f"steps.{route}": one for route, one in enumerate(self.steps)}}


def mix_from(kind: CaseKind, arrays: dict[str, NDArray[Any]]) -> RouteMix:
    """Return the mix of stored arrays."""
    routes = range(len(arrays["bias"]))
    steps = tuple(arrays[f"steps.{route}"] for route in routes if f"steps.{route}" in arrays)
    return RouteMix(kind, arrays["weight"], arrays["bias"], steps)


def fit_mix(
    kind: CaseKind, scores_PNR: Floats, targets_NR: Floats, *, isotonic: bool = False
) -> RouteMix:
    """Fit weights and offsets by cross-entropy on held-out scores.

    Args:
        kind: classes or outcomes.
        scores_PNR: scores of each part, from heads that were not trained on these cases.
        targets_NR: targets; NaN where a model is missing.
        isotonic: pass the probabilities through a rising step function afterwards.
    """
    scale_P11 = np.maximum(scores_PNR.std((1, 2), keepdims=True), 1e-9)
    scaled_PNR = scores_PNR / scale_P11
    if kind == "classes":
        weight_P, bias_R = _minimise(kind, scaled_PNR, targets_NR)
        weight_PR = np.repeat(weight_P[:, None], len(bias_R), 1)
    else:
        weight_PR = np.zeros((len(scores_PNR), targets_NR.shape[1]))
        bias_R = np.zeros(targets_NR.shape[1])
        for route in range(len(bias_R)):
            known = ~np.isnan(targets_NR[:, route])
            one = [route]
            weight_P, bias_1 = _minimise(
                kind, scaled_PNR[:, known][:, :, one], targets_NR[known][:, one]
            )
            weight_PR[:, route], bias_R[route] = weight_P, bias_1[0]
    mix = RouteMix(kind, weight_PR / scale_P11[:, :, 0], bias_R)
    if not isotonic:
        return mix
    return RouteMix(kind, mix.weight_PR, bias_R,
                    _steps(mix.probabilities(scores_PNR), targets_NR))  # fmt: skip


def _minimise(kind: CaseKind, scores_PNR: Floats, targets_NR: Floats) -> tuple[Floats, Floats]:
    """Return weights ``[P]`` (at least 0) and offsets ``[R]`` of least cross-entropy."""
    from scipy.optimize import minimize

    parts, _, routes = scores_PNR.shape
    mean_R = np.clip(targets_NR.mean(0) if len(targets_NR) else np.zeros(routes), 1e-3, 1 - 1e-3)
    prior_R = np.log(mean_R) if kind == "classes" else np.log(mean_R / (1 - mean_R))
    center_PR = scores_PNR.mean(1) if len(targets_NR) else np.zeros((parts, routes))
    if not len(targets_NR):
        return np.zeros(parts), prior_R

    def loss(values: Floats) -> tuple[float, Floats]:
        weight_P, bias_R = values[:parts], values[parts:]
        logits_NR = np.einsum("p,pnr->nr", weight_P, scores_PNR) + bias_R
        found_NR = _link(kind, logits_NR)
        if kind == "classes":
            total = -(targets_NR * np.log(np.maximum(found_NR, 1e-12))).sum()
        else:
            total = (np.logaddexp(0, logits_NR) - targets_NR * logits_NR).sum()
        error_NR = found_NR - targets_NR
        slope_P = np.einsum("pnr,nr->p", scores_PNR, error_NR) + PENALTY * weight_P
        gradient = np.concatenate([slope_P, error_NR.sum(0)])
        return float(total + 0.5 * PENALTY * (weight_P**2).sum()), gradient

    start_P = np.full(parts, 1.0 / parts)
    start = np.concatenate([start_P, prior_R - start_P @ center_PR])
    bounds = [(0.0, None)] * parts + [(None, None)] * routes
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return found.x[:parts], found.x[parts:]


def _link(kind: CaseKind, logits_NR: Floats) -> Floats:
    """Return probabilities of logits."""
    if kind == "classes":
        shifted_NR = np.exp(logits_NR - logits_NR.max(1, keepdims=True))
        shares: Floats = shifted_NR / shifted_NR.sum(1, keepdims=True)
        return shares
    found: Floats = 1.0 / (1.0 + np.exp(-np.clip(logits_NR, -_CLIP, _CLIP)))
    return found


def _steps(found_NR: Floats, targets_NR: Floats) -> tuple[Floats, ...]:
    """Return the points of an isotonic regression of each route."""
    from sklearn.isotonic import IsotonicRegression

    steps = []
    for found_N, target_N in zip(found_NR.T, targets_NR.T, strict=True):
        known = ~np.isnan(target_N)
        model = IsotonicRegression(y_min=0.001, y_max=0.999).fit(found_N[known], target_N[known])
        # Equal shares would make ties; a small slope keeps the order.
        rising = model.y_thresholds_ + 1e-6 * np.arange(len(model.y_thresholds_))
        steps.append(np.stack([model.X_thresholds_, np.clip(rising, 0.0, 1.0)]))
    return tuple(steps)
