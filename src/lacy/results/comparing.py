"""Comparisons of two conditions on the same people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from lacy.results.statistics import CONFIDENCE, Floats, Score, score_sums

EXACT_UNITS = 12
"""Up to this number of people, ``paired_test`` enumerates all assignments instead of sampling."""


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


POWER = 0.8
"""Conventional probability of finding an effect that exists (Cohen 1988)."""


def detectable_effect(difference: Score, *, power: float = POWER) -> float:
    """Return the smallest true difference that a test of this size would find with ``power``.

    ``(z(1 - alpha / 2) + z(power))`` standard errors, with the standard error read off the 95%
    interval of the measured difference. A smaller difference may be there and stay unseen.

    Returns:
        The effect in the unit of the difference; NaN if the interval is undefined.
    """
    z = NormalDist().inv_cdf
    limit = z(0.5 + CONFIDENCE / 2)
    return (limit + z(power)) * (difference.high - difference.low) / (2 * limit)


def false_discovery_rates(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for many tests (Benjamini & Hochberg 1995).

    If all differences with an adjusted value below 0.05 are called real, at most 5% of these are
    expected not to be. NaN stays NaN and does not count as a test.
    """
    from scipy.stats import false_discovery_control

    values = np.asarray(p_values, float)
    defined = ~np.isnan(values)
    if defined.any():
        values[defined] = false_discovery_control(values[defined])
    return [float(value) for value in values]
