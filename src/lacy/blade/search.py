"""Searches for the point of a box at which an expensive function is highest.

Both searches have the same two steps: ``ask`` for points, and ``tell`` what their values are. A
search depends on its settings and on what it was told only, so a stopped one goes on by telling the
stored values to a new one.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, qmc

Points = NDArray[np.float64]

SearchKind = Literal["bayes", "random"]

CANDIDATES = 2_048
"""Sobol points among which the acquisition is maximised."""

NEAR, NEAR_SCALES = 512, (0.05, 0.1, 0.2)
"""Candidates near each of the best points, and their distances (standard deviations)."""

BEST = 3
"""Number of best points near which candidates are drawn."""


class Search(Protocol):
    """A search for the highest value in the box [-1, 1]^d."""

    def ask(self, count: int) -> Points:
        """Return the next points to evaluate, points_ND."""
        ...

    def tell(
        self, points_ND: Sequence[Sequence[float]] | Points, values_N: Sequence[float]
    ) -> None:
        """Report the values of points; higher is better."""
        ...


class RandomSearch:
    """Uniformly random points: the control.

    Args:
        dimensions: of the box.
        seed: seed of the points.
    """

    def __init__(self, dimensions: int, seed: int = 0) -> None:
        self._dimensions, self._seed, self._told = dimensions, seed, 0

    def ask(self, count: int) -> Points:
        """Return new random points."""
        drawn = np.random.default_rng(self._seed).uniform(
            -1.0, 1.0, (self._told + count, self._dimensions)
        )
        return drawn[self._told :]

    def tell(
        self, points_ND: Sequence[Sequence[float]] | Points, values_N: Sequence[float]
    ) -> None:
        """Count the points; the values do not matter."""
        self._told += len(values_N)


class BayesianSearch:
    """A Gaussian process with expected improvement (BLADE, arXiv 2403.18365, stage 3).

    The first points are those of a scrambled Sobol sequence. Then the process (Matérn 5/2 with one
    length scale and noise, as fitted by scikit-learn to standardised values) predicts mean m and
    deviation s of every candidate, and the next point has the highest

        EI(z) = (m - f) Phi(u) + s phi(u),  u = (m - f) / s,

    where f is the highest predicted mean at a point that was evaluated, not the highest value,
    because values may be noisy. The points of one batch are chosen one after the other, each as if
    the predicted mean of the ones before were their value ("kriging believer", Ginsbourger et al.,
    2010).

    Args:
        dimensions: of the box.
        start: number of Sobol points at the beginning.
        seed: seed of all random choices.
    """

    def __init__(self, dimensions: int, start: int = 5, seed: int = 0) -> None:
        self._dimensions, self._start, self._seed = dimensions, start, seed
        self._points: list[Points] = []
        self._values: list[float] = []

    def ask(self, count: int) -> Points:
        """Return the next points: of the Sobol sequence, then those of highest improvement."""
        told = len(self._points)
        found = list(self._sobol(self._start, self._seed)[told:][:count])
        if len(found) == count:
            return np.array(found)
        if not told:  # nothing is known yet: go on with the sequence
            return self._sobol(count, self._seed)
        chance = np.random.default_rng((self._seed, told))
        points, values = [*self._points, *found], list(self._values)
        process = fitted_process(np.array(self._points), np.array(values))
        values += [float(one) for one in _means(process, found)]
        while len(found) < count:
            point = self._best(process, np.array(points), np.array(values), chance)
            found.append(point)
            if len(found) < count:
                points.append(point)
                values.append(float(_means(process, [point])[0]))
                process = fitted_process(np.array(points), np.array(values), process)
        return np.array(found)

    def tell(
        self, points_ND: Sequence[Sequence[float]] | Points, values_N: Sequence[float]
    ) -> None:
        """Report the values of points."""
        self._points += list(np.asarray(points_ND, float))
        self._values += [float(value) for value in values_N]

    def _best(
        self, process: Any, points_ND: Points, values_N: Points, chance: np.random.Generator
    ) -> Points:
        """Return the candidate with the highest expected improvement."""
        candidates = self._candidates(points_ND, values_N, chance)
        best = float(process.predict(points_ND).max())
        mean_C, deviation_C = process.predict(candidates, return_std=True)
        gain_C = expected_improvement(mean_C, deviation_C, best)
        place = int(gain_C.argmax())
        if gain_C[place] <= 0:  # nothing is promising: go where least is known
            place = int(deviation_C.argmax())
        return candidates[place]

    def _candidates(
        self, points_ND: Points, values_N: Points, chance: np.random.Generator
    ) -> Points:
        """Return Sobol points of the whole box, and points near the best ones, fine and coarse.

        Points beyond the box are moved to its border, where they may meet one that is known; such a
        point would be paid for twice and is left out.
        """
        whole = self._sobol(CANDIDATES, int(chance.integers(2**31)))
        best = points_ND[np.argsort(-values_N, kind="stable")[:BEST]]
        near = [whole]
        for scale in NEAR_SCALES:
            steps = chance.normal(0.0, scale, (len(best), NEAR // len(NEAR_SCALES), whole.shape[1]))
            near.append((best[:, None] + steps).reshape(-1, whole.shape[1]))
        found = np.clip(np.concatenate(near), -1.0, 1.0)
        known = set(map(tuple, points_ND.tolist()))
        return found[[tuple(point) not in known for point in found.tolist()]]

    def _sobol(self, count: int, seed: int) -> Points:
        power = max(0, math.ceil(math.log2(max(1, count))))
        sequence = qmc.Sobol(self._dimensions, rng=np.random.default_rng(seed))
        return 2.0 * sequence.random_base2(power)[:count] - 1.0


def make_search(kind: SearchKind, dimensions: int, start: int, seed: int) -> Search:
    """Return a search by its name."""
    if kind == "random":
        return RandomSearch(dimensions, seed)
    return BayesianSearch(dimensions, start, seed)


def expected_improvement(mean_N: Points, deviation_N: Points, best: float) -> Points:
    """Return the expected improvement over ``best`` of normal predictions.

    Args:
        mean_N: predicted means.
        deviation_N: predicted standard deviations; where one is 0, the improvement is certain.
        best: the value to improve on.
    """
    gain_N = mean_N - best
    with np.errstate(divide="ignore", invalid="ignore"):
        u_N = gain_N / deviation_N
        found = gain_N * norm.cdf(u_N) + deviation_N * norm.pdf(u_N)
    return np.where(deviation_N > 0, found, np.maximum(gain_N, 0.0))


def fitted_process(points_ND: Points, values_N: Points, like: Any = None) -> Any:
    """Return a Gaussian process (scikit-learn's) that is fitted to values at points.

    Args:
        points_ND: the points.
        values_N: their values.
        like: a process whose length scale and noise are taken over; None to fit them.
    """
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    if like is not None:
        process = GaussianProcessRegressor(like.kernel_, optimizer=None, normalize_y=True)
        return process.fit(points_ND, values_N)
    # The scale is at least half the typical distance of two points, or every point would be alone.
    kernel = (
        ConstantKernel(1.0, (0.05, 20.0)) * Matern(1.5, (0.5, 20.0), nu=2.5)
        + WhiteKernel(0.05, (1e-5, 1.0))
    )  # fmt: skip
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scale at its bound is a valid fit
        return process.fit(points_ND, values_N)


def _means(process: Any, points: Sequence[Points]) -> Points:
    if not points:
        return np.zeros(0)
    return np.asarray(process.predict(np.array(points)), float)
