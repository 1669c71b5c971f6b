"""Scores with confidence intervals.

People (or documents) are resampled, not tokens or facts: ten facts of one person are not ten
independent trials. Nearly every score is a function of *sums over people*, such as right claims
divided by claims. So one vectorised bootstrap serves all of them: draw people with replacement, add
up their rows, apply the function (percentile interval, Efron & Tibshirani 1993, ch. 13). Seeds are
fixed and rows are sorted first, so the same data give the same interval in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2_000
"""Bootstrap draws per interval. With 2,000, the tail beyond a 2.5% limit is estimated with a
standard error of 0.35 percentage points."""

CONFIDENCE = 0.95
MAX_UNITS = 2_000
"""If there are more people, they are split into this many random groups, and groups are resampled
(a block bootstrap). This bounds the cost and keeps the interval valid."""

NO_DATA = {"no_data": True}
"""Metadata of a field that ``as_data`` leaves out, such as generated texts."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """A value with its 95% interval.

    ``n`` is the number of people or documents; ``unit`` is the unit of ``value`` (``"share"``:
    between 0 and 1). ``low`` and ``high`` are NaN if there is nothing to resample (fewer than two
    people), and all three are NaN if the value is undefined (no facts stated).
    """

    value: float
    low: float
    high: float
    n: int
    unit: str = "share"

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Score:
        """Read a score that ``as_data`` wrote."""
        value, low, high = (
            math.nan if data[name] is None else data[name] for name in ("value", "low", "high")
        )
        return cls(value, low, high, data["n"], data["unit"])

    def __str__(self) -> str:
        if math.isnan(self.value):
            return f"undefined (n = {self.n})"
        if math.isnan(self.low):
            return f"{self.value:.3f} (n = {self.n})"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"


def as_data(value: Any) -> Any:
    """Return scores, or containers of them, as plain data for a JSON file.

    NaN and infinities become None, because JSON has neither. Fields with the metadata ``NO_DATA``
    are left out.
    """
    if is_dataclass(value):
        names = [field.name for field in fields(value) if not field.metadata.get("no_data")]
        return {name: as_data(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {key: as_data(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_data(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def score_sums(
    columns_NC: ArrayLike,
    statistic: Callable[[Floats], Floats],
    *,
    unit: str = "share",
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Score:
    """Return the value of a function of sums over people, with its bootstrap interval.

    Args:
        columns_NC: one row per person, one column per quantity that is summed.
        statistic: maps sums ``[R, C]``, one row per draw, to values ``[R]``. Draws with NaN do not
            count for the interval.
        unit: unit of the value.
        resamples: number of bootstrap draws.
        confidence: confidence level of the interval.
        seed: seed of the random draws.
    """
    rows_NC = np.asarray(columns_NC, dtype=np.float64)
    if rows_NC.ndim == 1:
        rows_NC = rows_NC[:, None]
    people = len(rows_NC)
    if people == 0:
        return Score(math.nan, math.nan, math.nan, 0, unit)
    rows_NC = rows_NC[np.lexsort(rows_NC.T)]  # so that the order of people does not matter
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(rows_NC.sum(0, keepdims=True))[0])
        if people == 1:
            return Score(value, math.nan, math.nan, 1, unit)
        groups_GC = grouped(rows_NC, MAX_UNITS, seed)
        drawn_R = np.asarray(
            statistic(resampling_weights(len(groups_GC), resamples, seed) @ groups_GC)
        )
    low, high = percentiles(drawn_R, confidence, len(groups_GC))
    return Score(value, low, high, people, unit)


def ratio(
    numerators_N: ArrayLike,
    denominators_N: ArrayLike,
    *,
    unit: str = "share",
    chance: bool = True,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """Return a ratio of sums over people with its interval, such as right claims per claim.

    A share of people who are each right or wrong as a whole is one of independent trials and gets a
    Wilson interval. Otherwise people are resampled. If such a share is exactly 0 or 1, all
    bootstrap draws are equal, and the interval would have no width; then the exact binomial bound
    over the counted items is used (Clopper & Pearson 1934: ``(alpha / 2) ** (1 / items)``).

    Args:
        numerators_N: one numerator per person.
        denominators_N: one denominator per person.
        unit: unit of the value.
        chance: False to skip the binomial bound, for shares that are settings rather than outcomes
            (such as the call rate of a policy that never calls).
        confidence: confidence level of the interval.
        resamples: number of bootstrap draws.
        seed: seed of the random draws.
    """
    pairs_N2 = np.stack([np.asarray(numerators_N, float), np.asarray(denominators_N, float)], 1)
    if unit == "share" and chance and len(pairs_N2) > 1 and _are_trials(pairs_N2):
        right = int((pairs_N2[:, 0] > 0).sum())
        return wilson(right, len(pairs_N2), confidence=confidence)
    score = score_sums(
        pairs_N2,
        lambda sums: sums[:, 0] / sums[:, 1],
        unit=unit,
        resamples=resamples,
        confidence=confidence,
        seed=seed,
    )
    if unit != "share" or not chance or score.n < 2 or score.value not in (0.0, 1.0):
        return score
    bound = ((1.0 - confidence) / 2.0) ** (1.0 / pairs_N2[:, 1].sum())
    low, high = (bound, 1.0) if score.value == 1.0 else (0.0, 1.0 - bound)
    return Score(score.value, low, high, score.n, unit)


def _are_trials(pairs_N2: Floats) -> bool:
    """Return whether people are trials: one item each, or equally many, all right or all wrong.

    If all items of all people are right (or wrong), nothing shows that those of a person are
    alike, so these people are not trials.
    """
    right_N, all_N = pairs_N2.T
    each = all_N[0]
    alike = each > 0 and (all_N == each).all() and np.isin(right_N, (0, each)).all()
    return bool(alike and (each == 1 or right_N.min() < right_N.max()))


def wilson(successes: float, trials: int, *, confidence: float = CONFIDENCE) -> Score:
    """Return a share of independent trials with its Wilson interval (Wilson 1927).

    Unlike the normal approximation, it stays within 0 and 1 and holds near both ends.

    Args:
        successes: number of successes.
        trials: number of independent trials; 0 gives an undefined score.
        confidence: confidence level of the interval.

    Raises:
        ValueError: there are more successes than trials, or fewer than 0.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials")
    if trials == 0:
        return Score(math.nan, math.nan, math.nan, 0)
    share, z = successes / trials, NormalDist().inv_cdf(0.5 + confidence / 2)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    middle, scale = share + z * z / (2 * trials), 1 + z * z / trials
    low, high = max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
    return Score(share, min(low, share), max(high, share), trials)


@lru_cache(maxsize=4)
def resampling_weights(units: int, resamples: int, seed: int) -> Floats:
    """Return how often each unit is drawn, ``[R, units]``; each row sums to ``units``."""
    rng = np.random.default_rng([seed, units])
    weights_RN = np.empty((resamples, units))
    for row in weights_RN:
        row[:] = np.bincount(rng.integers(units, size=units), minlength=units)
    weights_RN.flags.writeable = False
    return weights_RN


def random_groups(number: int, groups: int, seed: int) -> NDArray[np.int64]:
    """Return a random group for each of ``number`` units; group sizes differ by at most one."""
    return np.random.default_rng([seed, number]).permutation(number) % groups


def grouped(rows_NC: Floats, groups: int, seed: int) -> Floats:
    """Sum the rows into random groups if there are more rows than groups."""
    if len(rows_NC) <= groups:
        return rows_NC
    sums_GC = np.zeros((groups, rows_NC.shape[1]))
    np.add.at(sums_GC, random_groups(len(rows_NC), groups, seed), rows_NC)
    return sums_GC


@lru_cache(maxsize=256)
def expanded_tail(confidence: float, units: int) -> float:
    """Return the tail of an expanded percentile interval (see ``percentiles``)."""
    from scipy.stats import norm, t

    if units < 2:
        return (1.0 - confidence) / 2.0
    limit = t.ppf(0.5 + confidence / 2.0, units - 1) * math.sqrt(units / (units - 1))
    return float(norm.sf(limit))


def percentiles(drawn_R: Floats, confidence: float, units: int) -> tuple[float, float]:
    """Return the limits of the percentile interval of drawn values; NaN if most are undefined.

    A bootstrap of few units draws too little spread. The interval is therefore expanded, as that of
    a mean is by Student's t instead of the normal distribution (Hesterberg 2015, "What teachers
    should know about the bootstrap", section 5.3); with 20 units its tails are 1.6% instead of
    2.5%.

    Args:
        drawn_R: the statistic of each draw.
        confidence: confidence level.
        units: number of units that were resampled.
    """
    defined = drawn_R[np.isfinite(drawn_R)]
    if len(defined) < len(drawn_R) / 2:  # an interval of the few defined draws would mislead
        return math.nan, math.nan
    tail = expanded_tail(confidence, units)
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)
