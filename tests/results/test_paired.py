"""The paired randomisation test against a slow enumeration, and what it must not depend on."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.results import (
    EXACT_UNITS,
    detectable_effect,
    difference,
    false_discovery_rates,
    paired_test,
)


def slow(rows):
    """Every way to swap the pairs, in exact fractions."""

    def stat(assigned):
        sums = [sum(column) for column in zip(*assigned, strict=True)]
        if not sums[1] or not sums[3]:
            return None
        return abs(Fraction(sums[0], sums[1]) - Fraction(sums[2], sums[3]))

    observed = stat(rows)
    if observed is None:
        return math.nan
    found = [
        stat([(r[2:] + r[:2]) if swap else r for r, swap in zip(rows, swaps, strict=True)])
        for swaps in itertools.product([False, True], repeat=len(rows))
    ]
    return sum(s is None or s >= observed for s in found) / len(found)


def columns(rows):
    array = np.asarray(rows, float).reshape(-1, 4)
    return (array[:, 0], array[:, 1]), (array[:, 2], array[:, 3])


counts = st.tuples(*[st.integers(0, 4)] * 4)


@given(st.lists(counts, min_size=1, max_size=7))
@settings(max_examples=80, deadline=None)
def test_few_people_give_the_exact_value(rows):
    assert paired_test(*columns(rows)) == pytest.approx(slow(rows), nan_ok=True, abs=1e-15)


def test_by_hand():
    """Five people, all better by one: of 32 assignments, none but two are as large."""
    assert paired_test(([3, 2, 4, 3, 5], [5] * 5), ([2, 1, 3, 2, 4], [5] * 5)) == 2 / 32
    assert paired_test(([1, 2], [5, 5]), ([1, 2], [5, 5])) == 1.0


def test_people_without_a_difference_keep_the_test_exact():
    a, b = ([3, 2, 4, 3, 5] + [1] * 50, [5] * 55), ([2, 1, 3, 2, 4] + [1] * 50, [5] * 55)
    assert paired_test(a, b) == 2 / 32


def test_draws_come_near_the_exact_value(monkeypatch):
    rng = np.random.default_rng(1)
    rows = [(*map(int, rng.integers(0, 4, 1)), 4, int(rng.integers(0, 6)), 5) for _ in range(10)]
    exact = slow(rows)
    assert 0.02 < exact < 0.98
    monkeypatch.setattr("lacy.results.comparing.EXACT_UNITS", 0)
    drawn = paired_test(*columns(rows))
    assert drawn == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 10_000) ** 0.5)


def people(rng, number, better=0.0):
    """Two ways of the same skill, people and their counts of facts differing much."""
    skill, facts = rng.beta(2, 2, number), rng.integers(1, 9, (2, number))
    one = rng.binomial(facts[0], skill)
    other = rng.binomial(facts[1], np.clip(skill + better, 0, 1))
    return (one, facts[0]), (other, facts[1])


def test_p_is_uniform_where_nothing_differs():
    rng = np.random.default_rng(2)
    p = np.array([paired_test(*people(rng, 40), draws=400, seed=i) for i in range(300)])
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        spread = 3 * (level * (1 - level) / len(p)) ** 0.5
        assert (p <= level).mean() == pytest.approx(level, abs=spread + 1 / 400)


def test_a_clear_difference_has_a_small_p_and_an_interval_without_zero():
    a, b = people(np.random.default_rng(3), 200, better=0.2)
    assert paired_test(a, b) == pytest.approx(1 / 10_001)
    assert difference(a, b).high < 0


def test_only_the_seed_changes_p_not_the_order_or_side():
    a, b = people(np.random.default_rng(4), 60, better=0.03)
    assert len(a[0]) > EXACT_UNITS
    p = paired_test(a, b)
    assert 0.001 < p < 0.999
    assert paired_test(b, a) == p
    order = np.random.default_rng(5).permutation(60)
    assert paired_test(*[tuple(c[order] for c in pair) for pair in (a, b)]) == p
    assert paired_test(a, b, seed=1) != p
    assert paired_test(a, b, seed=1) == pytest.approx(p, abs=0.03)


def test_many_draws_are_made_in_chunks():
    a, b = people(np.random.default_rng(6), 3_000)
    assert 0.0 < paired_test(a, b, draws=1_500) <= 1.0


def test_a_zero_denominator_has_no_p():
    assert math.isnan(paired_test(([], []), ([], [])))
    assert math.isnan(paired_test(([0, 0], [0, 0]), ([1, 1], [2, 2])))
    # Undefined after a swap: counted as large, so that it never makes a difference look real.
    assert paired_test(([1, 0], [2, 0]), ([0, 0], [0, 2])) == 1.0


def test_false_discovery_rates_by_hand():
    # Benjamini-Hochberg: p * n / rank, made monotone from the largest p on.
    assert false_discovery_rates([0.01, 0.04, 0.03, 0.5]) == pytest.approx(
        [0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.5]
    )
    adjusted = false_discovery_rates([0.02, math.nan, 0.9])
    assert adjusted[0] == pytest.approx(0.04)
    assert math.isnan(adjusted[1])
    assert false_discovery_rates([]) == []


def test_a_true_difference_of_the_detectable_size_is_found_four_times_of_five():
    rng = np.random.default_rng(5)
    people, ones = 200, np.ones(200)

    def draw(effect):
        base = rng.normal(0.0, 1.0, people)
        other = base + effect + rng.normal(0.0, 0.5, people)
        return difference((other, ones), (base, ones), unit="points")

    effect = float(np.mean([detectable_effect(draw(0.0)) for _ in range(20)]))
    assert effect == pytest.approx(2.8016 * 0.5 / math.sqrt(people), rel=0.1)
    found = sum(draw(effect).low > 0 for _ in range(300))
    assert 0.72 <= found / 300 <= 0.88
