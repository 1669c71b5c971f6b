"""Scores with confidence intervals, and significance tests.

People (or documents) are resampled, not tokens or facts: ten facts of one person are not ten
independent trials. Nearly every score is a function of *sums over people*, such as right claims
divided by claims. So one vectorised bootstrap serves all of them: draw people with replacement, add
up their rows, apply the function (percentile interval, Efron & Tibshirani 1993, ch. 13). Seeds are
fixed and rows are sorted first, so the same data give the same interval in any order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
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
MAX_AUROC_UNITS = 1_000
"""The same for documents in ``auroc``, whose cost is quadratic in the number of units."""

NO_DATA = {"no_data": True}
"""Metadata of a field that ``as_data`` leaves out, such as generated texts."""

EXACT_UNITS = 12
"""Up to this number of people, ``paired_test`` enumerates all assignments instead of sampling."""

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
        groups_GC = _grouped(rows_NC, MAX_UNITS, seed)
        drawn_R = np.asarray(statistic(_weights(len(groups_GC), resamples, seed) @ groups_GC))
    low, high = _percentiles(drawn_R, confidence)
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

    If a share is exactly 0 or 1, all bootstrap draws are equal, and the interval would have no
    width. In this case the exact binomial bound over the counted items is used (Clopper & Pearson
    1934: ``(alpha / 2) ** (1 / items)``).

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


def difference(
    a: tuple[ArrayLike, ArrayLike],
    b: tuple[ArrayLike, ArrayLike],
    *,
    unit: str = "difference of shares",
    seed: int = 0,
) -> Score:
    """Return ratio ``a`` minus ratio ``b`` with its interval; both use the same draws of people.

    Args:
        a: numerators and denominators, one of each per person.
        b: the same for the other side; the people must be in the same order.
        unit: unit of the difference.
        seed: seed of the random draws.
    """
    columns_N4 = np.stack([np.asarray(column, float) for column in (*a, *b)], 1)
    return score_sums(
        columns_N4,
        lambda sums: sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3],
        unit=unit,
        seed=seed,
    )


def paired_test(
    a: tuple[ArrayLike, ArrayLike],
    b: tuple[ArrayLike, ArrayLike],
    *,
    seed: int = 0,
    draws: int = 10_000,
) -> float:
    """Return the two-sided p-value of ratio ``a`` minus ratio ``b`` by a paired randomisation test.

    Under the null hypothesis, the two pairs of counts of a person are exchangeable. So each draw
    swaps each person's pairs with probability 1/2 and computes the difference of the ratios again:
    ``p = (1 + draws at least as large) / (1 + draws)`` (Fisher's randomisation test; for the ones
    see Phipson & Smyth 2010). If the pairs of at most ``EXACT_UNITS`` people differ, all
    assignments are enumerated and ``p`` is exact.

    The pairs are brought into a canonical order first, so neither the order of the people nor the
    choice of ``a`` and ``b`` changes the result.

    Args:
        a: numerators and denominators, one of each per person.
        b: the same for the other side; the people must be in the same order.
        seed: seed of the random draws.
        draws: number of random assignments.

    Returns:
        The p-value, or NaN if the difference is undefined because a denominator is 0. Assignments
        for which it is undefined count as at least as large.
    """
    rows_N4 = np.stack([np.asarray(column, float) for column in (*a, *b)], 1)
    observed = abs(_difference(rows_N4[:, :2].sum(0)[None], rows_N4[:, 2:].sum(0)[None])[0])
    if math.isnan(observed):
        return math.nan
    low_N2, gain_N2 = _unordered(rows_N4)
    base_2, both_2 = low_N2.sum(0), rows_N4[:, :2].sum(0) + rows_N4[:, 2:].sum(0)
    gain_N2 = gain_N2[gain_N2.any(1)]  # equal pairs have nothing to swap
    slack = 1e-12 * max(1.0, observed)  # sums in a different order round differently
    large = total = 0
    for swaps_RN in _assignments(len(gain_N2), draws, seed):
        one_R2 = base_2 + swaps_RN @ gain_N2
        drawn_R = np.abs(_difference(one_R2, both_2 - one_R2))
        large += int((~(drawn_R < observed - slack)).sum())
        total += len(drawn_R)
    drawn = int(len(gain_N2) > EXACT_UNITS)  # all assignments include the observed one
    return (large + drawn) / (total + drawn)


def _unordered(rows_N4: Floats) -> tuple[Floats, Floats]:
    """Return each person's smaller pair, and the larger pair minus the smaller one, sorted."""
    first_N2, second_N2 = rows_N4[:, :2], rows_N4[:, 2:]
    more = first_N2[:, 0] - second_N2[:, 0]
    swap = (more > 0) | ((more == 0) & (first_N2[:, 1] > second_N2[:, 1]))
    low_N2 = np.where(swap[:, None], second_N2, first_N2)
    gain_N2 = np.where(swap[:, None], first_N2, second_N2) - low_N2
    order = np.lexsort(np.concatenate([low_N2, gain_N2], 1).T)
    return low_N2[order], gain_N2[order]


def _difference(one_R2: Floats, other_R2: Floats) -> Floats:
    """Return the difference of two ratios of sums, NaN where one is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result: Floats = one_R2[:, 0] / one_R2[:, 1] - other_R2[:, 0] / other_R2[:, 1]
    return np.where(np.isfinite(result), result, math.nan)


def _assignments(people: int, draws: int, seed: int) -> Iterator[Floats]:
    """Yield chunks of assignments, rows of one 0 or 1 per person: all of them, or random ones."""
    if people <= EXACT_UNITS:
        yield ((np.arange(2**people)[:, None] >> np.arange(people)) & 1).astype(float)
        return
    rng = np.random.default_rng([seed, people])
    chunk = max(1, 2_000_000 // people)  # bounds the memory of a chunk
    for start in range(0, draws, chunk):
        size = (min(chunk, draws - start), people)
        yield rng.integers(0, 2, size=size, dtype=np.int8).astype(float)


def recovered_share(
    cascade: tuple[ArrayLike, ArrayLike],
    alone: tuple[ArrayLike, ArrayLike],
    partner: tuple[ArrayLike, ArrayLike],
    *,
    seed: int = 0,
) -> Score:
    """Return the share of a partner's advantage over the model alone that a cascade recovers.

    It is ``(cascade - alone) / (partner - alone)``; each term is a ratio of sums over the same
    people. The partner is the upper baseline, such as perfect calls to a perfect source.
    """
    columns_N6 = np.stack([np.asarray(c, float) for c in (*cascade, *alone, *partner)], 1)

    def statistic(sums_R6: Floats) -> Floats:
        reached, baseline, best = (sums_R6[:, i] / sums_R6[:, i + 1] for i in (0, 2, 4))
        return (reached - baseline) / (best - baseline)

    return score_sums(columns_N6, statistic, unit="share of the partner's advantage", seed=seed)


def auroc(
    scores: Sequence[ArrayLike],
    labels: Sequence[ArrayLike],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Score:
    """Return the AUROC of a signal; documents are resampled for the interval.

    Args:
        scores: one array per document; higher values should mean positive. Infinities are allowed.
        labels: True for positives, one array per document.
        resamples: number of bootstrap draws.
        confidence: confidence level of the interval.
        seed: seed of the random draws.

    Raises:
        ValueError: a score is NaN, or an array and its labels differ in length.
    """
    from sklearn.metrics import roc_auc_score

    values = [np.asarray(document, float) for document in scores]
    truth = [np.asarray(document, bool) for document in labels]
    if [len(v) for v in values] != [len(t) for t in truth]:
        raise ValueError("scores and labels differ in length")
    flat = np.concatenate(values) if values else np.empty(0)
    if np.isnan(flat).any():
        raise ValueError("a score is NaN")
    flat_truth = np.concatenate(truth) if truth else np.empty(0, bool)
    if not flat_truth.any() or flat_truth.all():
        return Score(math.nan, math.nan, math.nan, len(values), "AUROC")
    ranks = np.unique(flat, return_inverse=True)[1]
    value = float(roc_auc_score(flat_truth, ranks))
    if len(values) == 1:
        return Score(value, math.nan, math.nan, 1, "AUROC")
    documents = np.repeat(np.arange(len(values)), [len(v) for v in values])
    if len(values) > MAX_AUROC_UNITS:
        documents = _shuffled(len(values), MAX_AUROC_UNITS, seed)[documents]
    wins_DD, positives_D, negatives_D = _pairs(ranks, flat_truth, documents)
    weights_RD = _weights(len(positives_D), resamples, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn_R = ((weights_RD @ wins_DD) * weights_RD).sum(1) / (
            (weights_RD @ positives_D) * (weights_RD @ negatives_D)
        )
    low, high = _percentiles(drawn_R, confidence)
    return Score(value, low, high, len(values), "AUROC")


def _pairs(
    ranks_N: NDArray[np.int64], truth_N: NDArray[np.bool_], document_N: NDArray[np.int64]
) -> tuple[Floats, Floats, Floats]:
    """Count how often document i's positives outrank document j's negatives (ties count half).

    With these counts, the AUROC under any weighting of documents is a quadratic form in the
    weights, so the bootstrap need not go over the tokens again.
    """
    size = int(document_N.max()) + 1
    positive_ranks, positive_documents = ranks_N[truth_N], document_N[truth_N]
    wins_DD = np.zeros((size, size))
    order = np.lexsort((ranks_N[~truth_N], document_N[~truth_N]))
    negative_ranks, negative_documents = ranks_N[~truth_N][order], document_N[~truth_N][order]
    starts = np.searchsorted(negative_documents, np.arange(size + 1))
    for j in range(size):
        negatives = negative_ranks[starts[j] : starts[j + 1]]
        below = np.searchsorted(negatives, positive_ranks, "left")
        below_or_equal = np.searchsorted(negatives, positive_ranks, "right")
        wins_DD[:, j] = np.bincount(
            positive_documents, (below + below_or_equal) / 2.0, minlength=size
        )
    positives_D = np.bincount(positive_documents, minlength=size).astype(float)
    negatives_D = np.bincount(negative_documents, minlength=size).astype(float)
    return wins_DD, positives_D, negatives_D


@lru_cache(maxsize=4)
def _weights(units: int, resamples: int, seed: int) -> Floats:
    """Return how often each unit is drawn, ``[R, units]``; each row sums to ``units``."""
    rng = np.random.default_rng([seed, units])
    weights_RN = np.empty((resamples, units))
    for row in weights_RN:
        row[:] = np.bincount(rng.integers(units, size=units), minlength=units)
    weights_RN.flags.writeable = False
    return weights_RN


def _shuffled(number: int, groups: int, seed: int) -> NDArray[np.int64]:
    """Return a random group for each of ``number`` units; group sizes differ by at most one."""
    return np.random.default_rng([seed, number]).permutation(number) % groups


def _grouped(rows_NC: Floats, groups: int, seed: int) -> Floats:
    """Sum the rows into random groups if there are more rows than groups."""
    if len(rows_NC) <= groups:
        return rows_NC
    sums_GC = np.zeros((groups, rows_NC.shape[1]))
    np.add.at(sums_GC, _shuffled(len(rows_NC), groups, seed), rows_NC)
    return sums_GC


def _percentiles(drawn_R: Floats, confidence: float) -> tuple[float, float]:
    defined = drawn_R[np.isfinite(drawn_R)]
    if len(defined) < len(drawn_R) / 2:  # an interval of the few defined draws would mislead
        return math.nan, math.nan
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)
