"""Metrics for any number of models: AIQ, the best single model, the oracle.

A router gives each question a score per model; with a price ``w``, the model with the highest
``score - w * cost`` is chosen. Every price gives a point of mean cost and mean quality. RouterBench
(Hu et al., arXiv 2403.12031 §3) takes the *non-decreasing convex hull* of these points, because a
router can be mixed at random with any other, and never has to pay for less quality. **AIQ** is the
mean of the hull over the range of costs from the cheapest to the most expensive model. The hull of
the single models is RouterBench's Zero router: what mixing at random reaches without reading a
text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lacy.results import CONFIDENCE, Score, percentiles, resampling_weights, score_sums

Floats = NDArray[np.float64]
Point = tuple[float, float]
PRICES = 41
"""Prices that are tried for a curve."""


def hull(points: Sequence[Point]) -> list[Point]:
    """Return the corners of the non-decreasing convex hull of (cost, quality), cheapest first."""
    best: list[Point] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if best and quality <= best[-1][1]:
            continue  # more expensive and no better
        while len(best) > 1 and _below(best[-2], best[-1], (cost, quality)):
            best.pop()
        best.append((cost, quality))
    return best


def _below(left: Point, middle: Point, right: Point) -> bool:
    """Return whether the middle point is on or below the line between the others."""
    rise, run = right[1] - left[1], right[0] - left[0]
    return (middle[1] - left[1]) * run <= rise * (middle[0] - left[0])


def quality_at(corners: Sequence[Point], cost: Floats | Sequence[float] | float) -> Floats:
    """Return the quality of a hull at costs; flat after the last corner, NaN before the first.

    Args:
        corners: what ``hull`` returned.
        cost: one cost or several.
    """
    costs, qualities = zip(*corners, strict=True)
    return np.asarray(np.interp(cost, costs, qualities, left=np.nan))


def aiq(points: Sequence[Point], low: float, high: float) -> float:
    """Return the mean quality of the hull over costs from ``low`` to ``high``.

    Args:
        points: cost and quality; one of them must cost at most ``low``.
        low: the cheapest model's cost.
        high: the most expensive model's cost; if it is not above ``low``, the quality at ``low``.
    """
    corners = hull(points)
    if high <= low:
        return float(quality_at(corners, low))
    inner = [cost for cost, _ in corners if low < cost < high]
    costs = np.array([low, *inner, high])
    return float(np.trapezoid(quality_at(corners, costs), costs) / (high - low))


@dataclass(frozen=True)
class ModelsFigures:
    """How well a router chooses among models.

    Attributes:
        curve: mean cost and mean quality at each price, cheapest first.
        quality: mean quality where cost does not count (price 0).
        cost: its mean cost.
        single: mean quality of each model on the same questions.
        costs: mean cost of each model.
        aiq: AIQ of the router.
        zero_aiq: AIQ of mixing single models at random.
        best: the best single model.
        gain_over_best: the router's quality at the cost of the best single model, minus that
            model's quality, with a paired bootstrap interval.
        gain_over_random: quality at price 0 minus the mean of all models.
        oracle: mean quality if the best model of each question were known.
        gap_to_oracle: oracle minus quality at price 0.
    """

    curve: tuple[Point, ...]
    quality: Score
    cost: float
    single: dict[str, Score]
    costs: dict[str, float]
    aiq: float
    zero_aiq: float
    best: str
    gain_over_best: Score
    gain_over_random: float
    oracle: float
    gap_to_oracle: float


def chosen_at(scores_NM: Floats, costs_NM: Floats, price: float) -> NDArray[np.int64]:
    """Return the model with the highest score minus price times cost; of equals, the cheapest.

    Scores that are NaN (the model was not asked) are never chosen.
    """
    value_NM = np.where(np.isnan(scores_NM), -np.inf, scores_NM - price * costs_NM)
    best_N1 = value_NM.max(1, keepdims=True)
    return np.where(value_NM >= best_N1, costs_NM, np.inf).argmin(1)


def models_figures(
    scores_NM: ArrayLike,
    true_NM: ArrayLike,
    costs: ArrayLike,
    models: Sequence[str],
    *,
    draws: int = 500,
    seed: int = 0,
) -> ModelsFigures:
    """Measure a router of any number of models.

    Args:
        scores_NM: the router's scores.
        true_NM: measured scores of the models' answers; NaN where a model was not asked.
        costs: cost of each model ``[M]``, or of each answer ``[N, M]``.
        models: names of the models.
        draws: bootstrap draws for the gain over the best single model.
        seed: seed of the draws.

    Raises:
        ValueError: the shapes differ.
    """
    true = np.asarray(true_NM, float)
    scores = np.where(np.isnan(true), np.nan, np.asarray(scores_NM, float))
    cost = np.broadcast_to(np.asarray(costs, float), true.shape)
    if scores.shape != true.shape or true.shape[1] != len(models):
        raise ValueError(f"scores {scores.shape}, outcomes {true.shape}, {len(models)} models")
    rows = np.arange(len(true))
    pairs_PN2 = np.stack(
        [
            np.stack([cost[rows, picked], true[rows, picked]], 1)
            for picked in (chosen_at(scores, cost, price) for price in prices(scores, cost))
        ]
    )
    curve = [(float(c), float(q)) for c, q in pairs_PN2.mean(1)]
    single = {name: _mean(true[:, m]) for m, name in enumerate(models)}
    means = [float(one) for one in np.nanmean(np.where(np.isnan(true), np.nan, cost), 0)]
    points = [(c, single[name].value) for c, name in zip(means, models, strict=True)]
    best = max(range(len(models)), key=lambda m: (points[m][1], -points[m][0]))
    cheapest = min(points)
    quality = _mean(pairs_PN2[0, :, 1])
    oracle = float(np.nanmax(true, 1).mean())
    return ModelsFigures(
        curve=tuple(sorted(curve)),
        quality=quality,
        cost=float(pairs_PN2[0, :, 0].mean()),
        single=single,
        costs=dict(zip(models, means, strict=True)),
        aiq=aiq([*curve, cheapest], cheapest[0], max(means)),
        zero_aiq=aiq(points, cheapest[0], max(means)),
        best=models[best],
        gain_over_best=_gain(pairs_PN2, cost[:, best], true[:, best], draws, seed),
        gain_over_random=quality.value - float(np.nanmean([q for _, q in points])),
        oracle=oracle,
        gap_to_oracle=oracle - quality.value,
    )


def prices(scores_NM: Floats, cost_NM: Floats) -> Floats:
    """Return prices from 0 to one at which every question goes to its cheapest model."""
    spread = np.nanmax(scores_NM) - np.nanmin(scores_NM)
    steps = np.diff(np.unique(cost_NM))
    least = float(steps.min()) if len(steps) else 1.0
    highest = max(float(spread), 1e-9) / least
    lowest = max(float(spread), 1e-9) / max(float(np.ptp(cost_NM)), least)
    return np.append(0.0, np.geomspace(lowest / 1e3, highest * 1.01, PRICES - 1))


def _mean(values_N: Floats) -> Score:
    """Return the mean of scores with its bootstrap interval; NaN values do not count."""
    known = values_N[~np.isnan(values_N)]
    columns = np.stack([known, np.ones(len(known))], 1)
    return score_sums(columns, lambda sums: sums[:, 0] / sums[:, 1])


def _gain(pairs_PN2: Floats, cost_N: Floats, quality_N: Floats, draws: int, seed: int) -> Score:
    """Return the hull's quality at a single model's mean cost minus the quality of that model."""
    known_N = ~np.isnan(quality_N)
    pairs, cost, quality = pairs_PN2[:, known_N], cost_N[known_N], quality_N[known_N]

    def gain(weights_N: Floats) -> float:
        points = (pairs * weights_N[None, :, None]).sum(1) / weights_N.sum()
        mine = float((cost * weights_N).sum() / weights_N.sum())
        reached = quality_at(hull([(float(c), float(q)) for c, q in points]), mine)
        return float(reached) - float((quality * weights_N).sum() / weights_N.sum())

    count = len(quality)
    drawn_R = np.array([gain(row) for row in resampling_weights(count, draws, seed)])
    low, high = percentiles(drawn_R, CONFIDENCE, count)
    return Score(gain(np.ones(count)), low, high, count, "difference of shares")
