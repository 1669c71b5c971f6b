"""Metrics for classes: accuracy overall and by class, confusion, calibration, McNemar's test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lacy.results import Score, wilson
from lacy.safety import calibration_error

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class RouteFigures:
    """How often one route was found, and how often it was right when it was chosen.

    Attributes:
        route: the route.
        recall: share of the texts of this route for which it was chosen (Wilson interval).
        precision: share of the texts for which it was chosen that are of this route.
    """

    route: str
    recall: Score
    precision: Score

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; 0 if no text was chosen rightly."""
        right, chosen_or_true = self.recall.value * self.recall.n, self.recall.n + self.precision.n
        return 2 * right / chosen_or_true if self.recall.n and right else 0.0


@dataclass(frozen=True)
class ClassFigures:
    """How well classes of texts are told apart.

    Attributes:
        accuracy: share of texts whose chosen route is theirs, with its Wilson interval.
        routes: figures of each route.
        confusion: texts by true route (outer) and chosen route (inner).
        ece: expected calibration error of the chosen route's probability; None without scores.
    """

    accuracy: Score
    routes: tuple[RouteFigures, ...]
    confusion: dict[str, dict[str, int]]
    ece: float | None = None

    @property
    def macro_f1(self) -> float:
        """Mean of F1 over the routes that have texts."""
        found = [one.f1 for one in self.routes if one.recall.n]
        return float(np.mean(found)) if found else float("nan")


def class_figures(
    true: Sequence[str], chosen: Sequence[str], probabilities_N: ArrayLike | None = None
) -> ClassFigures:
    """Compare chosen routes with the true ones.

    Args:
        true: the right route of each text.
        chosen: the chosen route of each text; an abstention is a route like any other, and wrong.
        probabilities_N: probability that the router gave to each chosen route.

    Raises:
        ValueError: the lengths differ.
    """
    if len(true) != len(chosen):
        raise ValueError(f"{len(true)} routes and {len(chosen)} choices")
    names = sorted({*true, *chosen})
    counts = {one: dict.fromkeys(names, 0) for one in names}
    for right, found in zip(true, chosen, strict=True):
        counts[right][found] += 1
    routes = tuple(
        RouteFigures(
            name,
            wilson(counts[name][name], sum(counts[name].values())),
            wilson(counts[name][name], sum(row[name] for row in counts.values())),
        )
        for name in names
    )
    right_N = np.array([a == b for a, b in zip(true, chosen, strict=True)], bool)
    ece = None
    if probabilities_N is not None:
        ece = calibration_error(np.asarray(probabilities_N, float), right_N)
    return ClassFigures(wilson(int(right_N.sum()), len(true)), routes, counts, ece)


def mcnemar(right_a_N: ArrayLike, right_b_N: ArrayLike) -> float:
    """Return the exact two-sided p-value that two routers are right equally often.

    Of the texts on which exactly one of them is right, each is equally often that one under the
    null hypothesis (McNemar 1947, with the binomial distribution instead of its approximation).

    Args:
        right_a_N: whether the first router is right about each text.
        right_b_N: the same for the second one.
    """
    from scipy.stats import binomtest

    a_N, b_N = np.asarray(right_a_N, bool), np.asarray(right_b_N, bool)
    only_a, only_b = int((a_N & ~b_N).sum()), int((~a_N & b_N).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(binomtest(only_a, only_a + only_b).pvalue)
