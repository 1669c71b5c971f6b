"""Routing metrics against hand-computed values and slow reference implementations."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from lacy.route import (
    PairCurve,
    aiq,
    apgr_difference,
    chosen_at,
    class_figures,
    hull,
    mcnemar,
    models_figures,
    quality_at,
)

# ---------------------------------------------------------------------------------- classes


def test_classes_by_hand():
    true = ["code", "code", "code", "chat", "chat", "maths"]
    chosen = ["code", "code", "chat", "chat", "chat", "chat"]
    found = class_figures(true, chosen, [0.9, 0.9, 0.6, 0.8, 0.7, 0.5])
    assert found.accuracy.value == pytest.approx(4 / 6)
    assert found.accuracy.n == 6
    by_route = {one.route: one for one in found.routes}
    assert by_route["code"].recall.value == pytest.approx(2 / 3)
    assert by_route["code"].precision.value == 1.0
    assert by_route["chat"].precision.value == pytest.approx(2 / 4)
    assert by_route["code"].f1 == pytest.approx(0.8)
    assert by_route["chat"].f1 == pytest.approx(2 / 3)
    assert by_route["maths"].f1 == 0.0
    assert math.isnan(by_route["maths"].precision.value)  # it was never chosen
    assert found.macro_f1 == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert found.confusion["code"] == {"chat": 1, "code": 2, "maths": 0}
    assert 0 < found.ece < 1


def test_an_abstention_is_wrong_and_shown():
    found = class_figures(["a", "b"], ["a", "none"])
    assert found.accuracy.value == 0.5
    assert found.confusion["b"]["none"] == 1
    assert found.ece is None
    assert found.macro_f1 == pytest.approx(0.5)  # "none" has no texts of its own


def test_classes_of_different_length_are_refused():
    with pytest.raises(ValueError, match="2 routes and 1 choices"):
        class_figures(["a", "b"], ["a"])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_mcnemar_is_the_binomial_test_of_the_texts_on_which_one_is_right(pairs):
    a, b = zip(*pairs, strict=True)
    only_a = sum(x and not y for x, y in pairs)
    both = only_a + sum(y and not x for x, y in pairs)
    tail = binom.cdf(min(only_a, both - only_a), both, 0.5)
    assert mcnemar(a, b) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(a, b) == pytest.approx(mcnemar(b, a))


# ---------------------------------------------------------------------------------- two models


def test_a_pair_by_hand():
    # The strong model helps on the first question, hurts on the third: gains 1, 0, -1, 1.
    weak, strong = [0, 1, 1, 0], [1, 1, 0, 1]
    curve = PairCurve([4, 3, 2, 1], weak, strong)
    share, pgr = curve.points()
    assert share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert pgr.tolist() == [0, 1, 1, 0, 1]
    found = curve.figures(draws=20)
    assert found.apgr.value == pytest.approx((0.5 + 1 + 0.5 + 0.5) / 4)
    assert found.cpt50.value == pytest.approx(0.125)
    assert found.cpt80.value == pytest.approx(0.2)
    assert (found.weak, found.strong, found.oracle) == (0.5, 0.75, 1.0)
    assert curve.quality([0, 0.25, 1]).tolist() == [0.5, 0.75, 0.75]


def test_equal_preferences_are_as_good_as_chance():
    curve = PairCurve(np.zeros(50), np.zeros(50), np.arange(50) % 2)
    assert curve.figures(draws=5).apgr.value == pytest.approx(0.5)
    assert curve.figures(draws=5).cpt80.value == pytest.approx(0.8)


def test_the_better_question_first_is_the_best_order():
    rng = np.random.default_rng(0)
    weak, strong = rng.integers(0, 2, (2, 200))
    strong[:60] = 1
    best = PairCurve(strong - weak, weak, strong).figures(draws=5)
    for seed in range(5):
        other = np.random.default_rng(seed).normal(size=200)
        assert PairCurve(other, weak, strong).figures(draws=5).apgr.value < best.apgr.value


def area_slowly(preference, weak, strong, orders):
    """Return APGR as the mean over random orders of equal preferences, question by question."""
    found = []
    for order in orders:
        ranked = sorted(range(len(weak)), key=lambda n: (-preference[n], order[n]))
        quality = [sum(weak)]
        for n in ranked:
            quality.append(quality[-1] + strong[n] - weak[n])
        pgr = [(q - sum(weak)) / (sum(strong) - sum(weak)) for q in quality]
        steps = [(a + b) / 2 for a, b in itertools.pairwise(pgr)]
        found.append(sum(steps) / len(steps))
    return sum(found) / len(found)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=5
    )
)
def test_apgr_equals_the_mean_over_all_orders_of_ties(rows):
    preference, weak, strong = zip(*rows, strict=True)
    if sum(weak) == sum(strong):
        assert math.isnan(PairCurve(preference, weak, strong).figures(draws=2).apgr.value)
        return
    orders = list(itertools.permutations(range(len(rows))))
    expected = area_slowly(preference, weak, strong, orders)
    found = PairCurve(preference, weak, strong).figures(draws=2).apgr.value
    assert found == pytest.approx(expected)


def test_the_interval_covers_the_value_and_narrows_with_more_questions():
    rng = np.random.default_rng(1)
    widths = []
    for count in (200, 3200):
        weak = rng.random(count) < 0.5
        strong = weak | (rng.random(count) < 0.5)
        preference = rng.normal(size=count) + (strong & ~weak)
        found = PairCurve(preference, weak, strong).figures(draws=200).apgr
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_questions_of_one_subject_are_resampled_together():
    rng = np.random.default_rng(2)
    subject = np.repeat(np.arange(10), 40)
    easy = (subject % 2).astype(float)  # every other subject: the strong model is always better
    weak = rng.random(400) < 0.4
    strong = weak | (easy > 0)
    alone = PairCurve(easy, weak, strong).figures(draws=300).apgr
    together = PairCurve(easy, weak, strong, subject).figures(draws=300).apgr
    assert together.value == alone.value
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


def test_a_difference_is_paired():
    rng = np.random.default_rng(3)
    weak = rng.random(600) < 0.5
    strong = weak | (rng.random(600) < 0.5)
    good = (strong & ~weak) + rng.normal(size=600)
    curve, nearly = PairCurve(good, weak, strong), PairCurve(good + 1e-9, weak, strong)
    same = apgr_difference(curve, nearly, draws=100)
    assert same.value == same.low == same.high == 0
    random = PairCurve(rng.normal(size=600), weak, strong)
    better = apgr_difference(curve, random, draws=200)
    assert better.low > 0
    assert apgr_difference(random, curve, draws=200).value == pytest.approx(-better.value)


def test_a_preference_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="a number"):
        PairCurve([1, math.nan], [0, 0], [1, 1])


def test_two_equally_good_models_have_a_curve_but_no_recovered_gap():
    curve = PairCurve([2, 1], [0, 1], [1, 0])
    assert math.isnan(curve.figures(draws=5).cpt50.value)
    assert curve.quality([0, 0.5, 1]).tolist() == [0.5, 1.0, 0.5]


# ---------------------------------------------------------------------------------- many models


def test_a_hull_by_hand():
    points = [(1, 0.2), (2, 0.3), (3, 0.6), (4, 0.5), (5, 0.7), (5, 0.1)]
    assert hull(points) == [(1, 0.2), (3, 0.6), (5, 0.7)]
    assert quality_at(hull(points), [1, 2, 4, 9]).tolist() == pytest.approx([0.2, 0.4, 0.65, 0.7])
    assert np.isnan(quality_at(hull(points), 0.5))
    assert aiq(points, 1, 5) == pytest.approx((0.4 * 2 + 0.65 * 2) / 4)
    assert aiq(points, 3, 3) == pytest.approx(0.6)


def hull_slowly(points, cost):
    """Return the best quality that mixing two points reaches without exceeding the cost."""
    best = max((q for c, q in points if c <= cost), default=math.nan)
    for (c1, q1), (c2, q2) in itertools.combinations(points, 2):
        if c1 > c2:
            c1, q1, c2, q2 = c2, q2, c1, q1
        if c1 <= cost < c2:
            best = max(best, q1 + (q2 - q1) * (cost - c1) / (c2 - c1))
    return best


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9),
    st.integers(0, 12),
)
def test_a_hull_is_the_best_mixture_of_two_points(points, cost):
    found, expected = float(quality_at(hull(points), cost)), hull_slowly(points, cost)
    assert found == pytest.approx(expected, nan_ok=True)


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_aiq_is_the_mean_of_the_hull(seed):
    points = [tuple(row) for row in np.random.default_rng(seed).random((6, 2))]
    low, high = min(c for c, _ in points), max(c for c, _ in points)
    middle = low + (np.arange(4000) + 0.5) * (high - low) / 4000
    slow = np.mean([hull_slowly(points, cost) for cost in middle[::40]])
    assert aiq(points, low, high) == pytest.approx(slow, abs=0.02)


def test_choice_by_price():
    scores, costs = np.array([[0.5, 0.9, 0.9]]), np.array([[1.0, 3.0, 2.0]])
    assert chosen_at(scores, costs, 0.0) == [2]  # of equal scores, the cheaper
    assert chosen_at(scores, costs, 1.0) == [0]
    assert chosen_at(np.array([[math.nan, 0.1, 0.0]]), costs, 9.0) == [2]


def test_models_by_hand():
    true = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0], [0, 1, 1]], float)
    found = models_figures(true, true, [1, 2, 10], ["s", "m", "l"], draws=50)
    assert found.quality.value == found.oracle == 0.75
    assert found.gap_to_oracle == 0
    # The last question costs 1 at price 0, because all models are equally bad.
    assert found.cost == pytest.approx((1 + 2 + 1 + 2) / 4)
    assert found.best == "l"
    assert found.single["s"].value == 0.25
    assert found.gain_over_random == pytest.approx(0.75 - (0.25 + 0.5 + 0.75) / 3)
    assert found.gain_over_best.value == pytest.approx(0.0)
    assert found.aiq > found.zero_aiq
    costs, qualities = zip(*found.curve, strict=True)
    assert min(costs) == 1.0
    assert qualities[0] == 0.25


def test_zero_router_equals_a_router_that_does_not_read():
    rng = np.random.default_rng(0)
    true = (rng.random((500, 3)) < [0.3, 0.5, 0.8]).astype(float)
    known = np.tile(true.mean(0), (500, 1))
    found = models_figures(known, true, [1, 5, 9], ["s", "m", "l"], draws=20)
    assert found.aiq == pytest.approx(found.zero_aiq, abs=0.01)
    assert found.gain_over_best.value == pytest.approx(0.0)


def test_a_model_that_was_not_asked_is_not_chosen():
    true = np.array([[math.nan, 1.0], [1.0, 0.0], [math.nan, 0.0]])
    found = models_figures(np.array([[1, 0.5]] * 3), true, [1, 2], ["a", "b"], draws=10)
    assert found.quality.value == pytest.approx(2 / 3)
    assert found.single["a"].n == 1
    assert found.single["b"].value == pytest.approx(1 / 3)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="models"):
        models_figures(np.zeros((2, 3)), np.zeros((2, 3)), [1, 2, 3], ["a", "b"])
