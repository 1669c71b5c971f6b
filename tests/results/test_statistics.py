"""Scores and their intervals: hand-computed values, brute force, coverage, odd inputs."""

from __future__ import annotations

import json
import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.results import (
    Score,
    as_data,
    auroc,
    difference,
    ratio,
    recovered_share,
    roc,
    score_sums,
    wilson,
)
from lacy.results.statistics import resampling_weights


def test_a_ratio_sums_before_it_divides():
    score = ratio([1, 9], [2, 10])
    assert score.value == pytest.approx(10 / 12)  # not the mean of 0.5 and 0.9
    assert score.n == 2
    assert 0.5 <= score.low <= score.value <= score.high <= 0.9


def test_interval_of_a_mean_approaches_the_normal_one():
    values = np.random.default_rng(1).normal(5.0, 2.0, 1_500)
    score = ratio(values, np.ones_like(values), unit="calls per answer")
    half = 1.96 * values.std() / math.sqrt(1_500)
    assert score.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert score.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_drawing_many_people_in_groups_keeps_the_interval():
    values = np.random.default_rng(2).normal(5.0, 2.0, 20_000)
    score = ratio(values, np.ones_like(values), unit="")
    assert score.n == 20_000
    assert (score.high - score.low) / 2 == pytest.approx(1.96 * 2.0 / math.sqrt(20_000), rel=0.1)


def test_people_not_facts_are_the_unit():
    """Ten equal facts per person carry no more information than one."""
    rng = np.random.default_rng(3)
    right = rng.integers(0, 2, 200)
    one, ten = ratio(right, np.ones(200)), ratio(10 * right, np.full(200, 10))
    assert (one.low, one.high) == (ten.low, ten.high)


def test_intervals_have_their_nominal_coverage():
    """95% nominal; 300 worlds of 50 people with clustered facts. The binomial 3-sigma band."""
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(300):
        facts = rng.integers(1, 9, 50)
        skill = rng.beta(3, 2, 50)  # mean 0.6, people differ
        score = ratio(rng.binomial(facts, skill), facts)
        hits += score.low <= 0.6 <= score.high
    assert 0.89 <= hits / 300 <= 0.985


def test_a_perfect_share_does_not_claim_certainty():
    score = ratio([3] * 20, [3] * 20)
    assert (score.value, score.high) == (1.0, 1.0)
    assert score.low == pytest.approx(0.025 ** (1 / 60))
    assert 1 - score.low**60 == pytest.approx(0.975)  # Clopper-Pearson: P(no error | low) = 2.5%
    none = ratio([0] * 20, [3] * 20)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(1 - score.low)


def test_a_policy_that_never_calls_is_certain_of_it():
    score = ratio([0] * 20, [3] * 20, chance=False)
    assert (score.low, score.value, score.high) == (0.0, 0.0, 0.0)


def test_calls_per_answer_all_equal_have_no_spread():
    assert ratio([2.0] * 5, [1] * 5, unit="calls") == Score(2.0, 2.0, 2.0, 5, "calls")


@pytest.mark.parametrize("people", [0, 1])
def test_too_few_people_give_no_interval(people):
    score = ratio([1] * people, [2] * people)
    assert score.n == people
    assert math.isnan(score.low) and math.isnan(score.high)
    assert math.isnan(score.value) == (people == 0)
    json.dumps(as_data(score), allow_nan=False)


def test_a_zero_denominator_is_undefined_not_zero():
    score = ratio([0, 0, 0], [0, 0, 0])
    assert math.isnan(score.value) and score.n == 3
    assert as_data(score)["value"] is None
    assert "undefined" in str(score)


def test_draws_without_a_denominator_are_left_out():
    score = ratio([1, 0, 0, 0], [2, 0, 0, 0])
    assert score.value == 0.5
    assert score.low == score.high == 0.5


def test_a_score_prints_well():
    assert str(Score(0.5, 0.25, 0.75, 8)) == "0.500 [0.250, 0.750] (n = 8)"
    assert str(Score(0.5, math.nan, math.nan, 1)) == "0.500 (n = 1)"


def test_difference_is_paired():
    """The same people are better by exactly 0.1 each: no spread, though people differ a lot."""
    base = np.random.default_rng(5).uniform(0, 0.9, 40)
    score = difference((base + 0.1, np.ones(40)), (base, np.ones(40)))
    assert score.value == pytest.approx(0.1)
    assert score.high - score.low < 1e-9
    unpaired = ratio(base, np.ones(40))
    assert unpaired.high - unpaired.low > 0.1


def test_recovered_share_by_hand():
    ones = np.ones(30)
    score = recovered_share((0.5 * ones, ones), (0.2 * ones, ones), (0.8 * ones, ones))
    assert score.value == pytest.approx(0.5)
    assert (score.low, score.high) == (pytest.approx(0.5), pytest.approx(0.5))


counts = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12)


@given(counts, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_of_people_does_not_matter(pairs, random):
    rows = [(min(pair), max(pair)) for pair in pairs]
    shuffled = list(rows)
    random.shuffle(shuffled)
    a, b = (ratio(*np.array(r).T) for r in (rows, shuffled))
    assert as_data(a) == as_data(b)
    if not math.isnan(a.low):
        assert 0.0 <= a.low <= a.value + 1e-12 and a.value - 1e-12 <= a.high <= 1.0


def brute_force_auroc(scores, labels):
    wins = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p, is_p in zip(scores, labels, strict=True)
        if is_p
        for n, is_n in zip(scores, labels, strict=True)
        if not is_n
    ]
    return sum(wins) / len(wins)


documents = st.lists(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=0, max_size=8),
    min_size=1,
    max_size=6,
)


@given(documents)
@settings(max_examples=60, deadline=None)
def test_auroc_is_the_share_of_pairs_in_order(docs):
    scores = [[s for s, _ in doc] for doc in docs]
    labels = [[label for _, label in doc] for doc in docs]
    flat_scores, flat_labels = list(chain(*scores)), list(chain(*labels))
    result = auroc(scores, labels, resamples=50)
    if not any(flat_labels) or all(flat_labels):
        assert math.isnan(result.value)
    else:
        assert result.value == pytest.approx(brute_force_auroc(flat_scores, flat_labels))


def test_auroc_bootstrap_equals_the_slow_computation():
    """Redrawing documents and ranking all their tokens again gives the same figure."""
    rng = np.random.default_rng(6)
    scores = [rng.integers(0, 9, rng.integers(1, 9)) for _ in range(7)]
    labels = [rng.random(len(s)) < 0.4 for s in scores]
    ranks = np.unique(np.concatenate(scores), return_inverse=True)[1]
    of = np.repeat(np.arange(7), [len(s) for s in scores])
    wins, positives, negatives = roc._pairs(ranks, np.concatenate(labels), of)
    for weights in resampling_weights(7, 20, 0):
        drawn = np.repeat(np.arange(7), weights.astype(int))
        slow = brute_force_auroc(
            np.concatenate([scores[d] for d in drawn]), np.concatenate([labels[d] for d in drawn])
        )
        fast = weights @ wins @ weights / ((weights @ positives) * (weights @ negatives))
        assert fast == pytest.approx(slow)


def test_auroc_accepts_infinities_and_rejects_nan():
    assert auroc([[math.inf, 0.0, -math.inf]], [[True, False, False]]).value == 1.0
    with pytest.raises(ValueError, match="NaN"):
        auroc([[math.nan, 0.0]], [[True, False]])
    with pytest.raises(ValueError, match="length"):
        auroc([[1.0]], [[True, False]])


def test_auroc_of_no_documents():
    assert auroc([], []).n == 0


def test_auroc_interval_of_many_documents_is_bounded_in_cost():
    rng = np.random.default_rng(7)
    labels = [rng.random(20) < 0.3 for _ in range(1_500)]
    scores = [rng.normal(label * 1.0, 1.0) for label in labels]
    score = auroc(scores, labels)
    assert score.n == 1_500
    assert score.low < 0.7602 < score.high  # Phi(1 / sqrt 2) = 0.7602
    assert score.high - score.low < 0.02


def test_any_function_of_sums_can_be_scored():
    score = score_sums([[1.0, 2.0], [3.0, 4.0]], lambda sums: sums.prod(1), unit="area", seed=3)
    assert score.value == 24.0
    assert score.unit == "area"


def test_wilson_equals_the_reference():
    from scipy.stats import binomtest

    for trials in (1, 2, 7, 100):
        for successes in range(trials + 1):
            expected = binomtest(successes, trials).proportion_ci(method="wilson")
            score = wilson(successes, trials)
            assert (score.value, score.n) == (successes / trials, trials)
            assert score.low == pytest.approx(expected.low, abs=1e-12)
            assert score.high == pytest.approx(expected.high, abs=1e-12)
            assert score.low <= score.value <= score.high
    assert math.isnan(wilson(0, 0).value)
    with pytest.raises(ValueError, match="3 successes in 2"):
        wilson(3, 2)


def test_a_share_of_trials_has_a_wilson_interval():
    assert ratio([1, 0, 1], [1, 1, 1]) == wilson(2, 3)
    assert ratio([1, 1, 1], [1, 1, 1]) == wilson(3, 3)
    assert ratio([1, 0, 1], [1, 1, 1], unit="calls").low != wilson(2, 3).low
    assert ratio([1, 0, 2], [1, 1, 2]).low != wilson(3, 4).low


@pytest.mark.parametrize(
    ("name", "draw"),
    [
        ("trials", lambda rng: ratio(rng.random(100) < 0.3, np.ones(100))),
        ("rare", lambda rng: ratio(rng.random(200) < 0.1, np.ones(200))),
        ("clusters", None),
    ],
)
def test_95_percent_intervals_contain_the_truth(name, draw):
    """1,000 simulated measurements; 93% to 97% of the intervals must contain the truth."""
    rng = np.random.default_rng(7)
    truth = {"trials": 0.3, "rare": 0.1, "clusters": 0.6}[name]

    def clusters(rng):
        facts = rng.integers(1, 9, 60)
        return ratio(rng.binomial(facts, rng.beta(3, 2, 60)), facts)

    scores = [(draw or clusters)(rng) for _ in range(1_000)]
    hits = sum(score.low <= truth <= score.high for score in scores)
    assert 930 <= hits <= 970
