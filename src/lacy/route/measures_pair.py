"""Metrics for a weak and a strong model: PGR, APGR and CPT.

A router gives each question a *preference* for the strong model. If the ``k`` questions with the
highest preference go to the strong model, the quality is that of the strong model on these and of
the weak one on the others. With ``s = k / N`` (the strong share), RouteLLM (Ong et al., arXiv
2406.18665 §4) defines

- ``PGR(s) = (quality(s) - weak) / (strong - weak)``: the recovered part of the gap;
- ``APGR``: the area under PGR over ``s`` from 0 to 1; a random router has 0.5;
- ``CPT(x)``: the least strong share at which PGR reaches ``x``.

RouteLLM's code takes ten thresholds; here every question is one. Questions with equal preference
are taken in random order, so that PGR is a straight line over them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lacy.results import CONFIDENCE, Score, percentiles

Floats = NDArray[np.float64]
DRAWS = 1_000
"""Bootstrap draws of an interval."""


@dataclass(frozen=True)
class PairFigures:
    """How well a router divides questions between two models.

    Attributes:
        weak: mean score of the weak model.
        strong: mean score of the strong model.
        apgr: area under PGR, with its bootstrap interval.
        cpt50: least strong share (0 to 1) that recovers half of the gap.
        cpt80: least strong share that recovers 80% of it.
        oracle: mean score if the better model were known; of equals, the weak one is asked.
        n: number of questions.
    """

    weak: float
    strong: float
    apgr: Score
    cpt50: Score
    cpt80: Score
    oracle: float
    n: int


class PairCurve:
    """Quality against the strong share for one router.

    Args:
        preference_N: the router's preference for the strong model.
        weak_N: scores of the weak model.
        strong_N: scores of the strong model.
        units_N: which questions are resampled together, such as those of one subject; by default
            each question alone.

    Raises:
        ValueError: a preference is not a number, or lengths differ.
    """

    def __init__(
        self,
        preference_N: ArrayLike,
        weak_N: ArrayLike,
        strong_N: ArrayLike,
        units_N: ArrayLike | None = None,
    ) -> None:
        preference, weak, strong = (
            np.asarray(one, float) for one in (preference_N, weak_N, strong_N)
        )
        if not (len(preference) == len(weak) == len(strong)) or np.isnan(preference).any():
            raise ValueError("a number is needed for every question")
        order = np.argsort(-preference, kind="stable")
        self.order_N = order
        self.gain_N = (strong - weak)[order]
        self.weak, self.strong = float(weak.mean()), float(strong.mean())
        self.oracle = float(np.maximum(weak, strong).mean())
        # Ends of runs of equal preference; the curve is straight within a run.
        self.ends = np.flatnonzero(np.append(np.diff(preference[order]) != 0, True))
        units = np.arange(len(order)) if units_N is None else np.asarray(units_N)
        self.units_N = np.unique(units, return_inverse=True)[1][order]

    def points(self, weights_N: Floats | None = None) -> tuple[Floats, Floats]:
        """Return strong shares and PGR at the ends of all runs, from (0, 0) to (1, 1).

        PGR is NaN beyond 0 if both models are equally good.

        Args:
            weights_N: how often each question counts, in the order of preference.
        """
        weights = np.ones(len(self.gain_N)) if weights_N is None else weights_N
        share = np.cumsum(weights)[self.ends]
        gained = np.cumsum(weights * self.gain_N)[self.ends]
        whole = gained[-1] if gained[-1] else np.nan  # equally good models have no gap to recover
        return np.append(0.0, share / share[-1]), np.append(0.0, gained / whole)

    def quality(self, share: Floats | Sequence[float]) -> Floats:
        """Return the mean score at strong shares."""
        gained = np.append(0.0, np.cumsum(self.gain_N)[self.ends] / len(self.gain_N))
        return self.weak + np.interp(share, self.points()[0], gained)

    def figures(self, *, draws: int = DRAWS, seed: int = 0) -> PairFigures:
        """Return APGR and CPT with intervals from ``draws`` bootstrap draws of the units."""
        statistics = (area, lambda s, p: reached(s, p, 0.5), lambda s, p: reached(s, p, 0.8))
        drawn_RK = self._drawn(statistics, draws, seed)
        units = int(self.units_N.max()) + 1
        scores = []
        for number, (statistic, unit) in enumerate(
            zip(statistics, ("APGR", "share", "share"), strict=True)
        ):
            low, high = percentiles(drawn_RK[:, number], CONFIDENCE, units)
            scores.append(Score(statistic(*self.points()), low, high, len(self.gain_N), unit))
        apgr, cpt50, cpt80 = scores
        count = len(self.gain_N)
        return PairFigures(self.weak, self.strong, apgr, cpt50, cpt80, self.oracle, count)

    def _drawn(
        self, statistics: tuple[Callable[[Floats, Floats], float], ...], draws: int, seed: int
    ) -> Floats:
        """Return the statistics of bootstrap draws ``[draws, statistics]``."""
        units = int(self.units_N.max()) + 1
        rng = np.random.default_rng([seed, units])
        found = np.empty((draws, len(statistics)))
        for row in found:
            counts = np.bincount(rng.integers(units, size=units), minlength=units)
            share, pgr = self.points(counts[self.units_N].astype(float))
            row[:] = [one(share, pgr) for one in statistics]
        return found


def area(share: Floats, pgr: Floats) -> float:
    """Return the area under PGR by the trapezoid rule; NaN if both models are equally good."""
    value = float(np.trapezoid(pgr, share))
    return value if math.isfinite(value) else math.nan


def reached(share: Floats, pgr: Floats, wanted: float) -> float:
    """Return the least strong share at which PGR is at least ``wanted``; NaN if undefined."""
    if not np.isfinite(pgr).all():
        return math.nan
    first = int(np.argmax(pgr >= wanted))
    if pgr[first] < wanted or first == 0:
        return math.nan if pgr[first] < wanted else 0.0
    rise, run = pgr[first] - pgr[first - 1], share[first] - share[first - 1]
    return float(share[first - 1] + run * (wanted - pgr[first - 1]) / rise)


def apgr_difference(a: PairCurve, b: PairCurve, *, draws: int = DRAWS, seed: int = 0) -> Score:
    """Return the APGR of router ``a`` minus that of ``b``; both see the same draws of questions.

    Args:
        a: the curve of one router.
        b: the curve of the other, on the same questions in the same order and with the same units.
        draws: number of bootstrap draws.
        seed: seed of the draws.
    """
    drawn_R = a._drawn((area,), draws, seed)[:, 0] - b._drawn((area,), draws, seed)[:, 0]
    low, high = percentiles(drawn_R, CONFIDENCE, int(a.units_N.max()) + 1)
    value = area(*a.points()) - area(*b.points())
    return Score(value, low, high, len(a.gain_N), "difference of APGR")
