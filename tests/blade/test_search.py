"""The search: expected improvement, bounds, resuming, and a lead over random search."""

from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lacy.blade import BayesianSearch, RandomSearch, expected_improvement, make_search


def hill(point, top):
    return float(np.exp(-np.sum((np.asarray(point) - top) ** 2)))


def searched(search, value, evaluations, batch, start=5):
    found = []
    while len(found) < evaluations:
        points = search.ask(min(batch if found else start, evaluations - len(found)))
        values = [value(point) for point in points]
        search.tell(points, values)
        found += list(zip(points, values, strict=True))
    return found


@settings(max_examples=25)
@given(st.floats(-2, 2), st.floats(0.01, 2), st.floats(-2, 2))
def test_the_expected_improvement_is_that_of_many_draws(mean, deviation, best):
    draws = np.random.default_rng(0).normal(mean, deviation, 200_000)
    wanted = np.maximum(draws - best, 0).mean()
    [found] = expected_improvement(np.array([mean]), np.array([deviation]), best)
    assert found == pytest.approx(wanted, abs=0.02 * deviation + 1e-3)
    assert found >= 0


def test_without_doubt_the_improvement_is_the_difference():
    found = expected_improvement(np.array([1.0, 3.0]), np.zeros(2), 2.0)
    assert found.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("kind", ["bayes", "random"])
@settings(max_examples=8)
@given(seed=st.integers(0, 2**31 - 1), dimensions=st.integers(1, 12), batch=st.integers(1, 4))
@example(seed=1, dimensions=1, batch=2)  # two candidates at the border of the box
def test_points_are_in_the_box_and_different(kind, seed, dimensions, batch):
    found = searched(make_search(kind, dimensions, 3, seed), sum, 3 + batch, batch, start=3)
    points = np.array([point for point, _ in found])
    assert points.shape == (3 + batch, dimensions)
    assert np.abs(points).max() <= 1
    assert len(np.unique(points, axis=0)) == len(points)


@pytest.mark.parametrize("kind", ["bayes", "random"])
def test_a_search_that_is_told_the_past_goes_on_as_if_it_had_not_stopped(kind):
    top = np.full(3, 0.3)
    whole = searched(make_search(kind, 3, 4, 7), lambda p: hill(p, top), 12, 4, start=4)
    again = make_search(kind, 3, 4, 7)
    again.tell([point for point, _ in whole[:8]], [value for _, value in whole[:8]])
    assert np.allclose(again.ask(4), [point for point, _ in whole[8:]])


def test_it_climbs_higher_than_chance_and_than_its_start():
    gains, over_chance = [], []
    for seed in range(6):
        value = partial(hill, top=np.random.default_rng(seed).uniform(-0.7, 0.7, 4))
        bayes = [v for _, v in searched(BayesianSearch(4, 5, seed), value, 21, 4)]
        chance = [v for _, v in searched(RandomSearch(4, seed), value, 21, 4)]
        gains.append(max(bayes) - max(bayes[:5]))
        over_chance.append(max(bayes) - max(chance))
    assert min(gains) >= 0
    assert np.mean(gains) > 0.2
    assert np.mean(over_chance) > 0.1


def test_equal_values_are_no_problem():
    found = searched(BayesianSearch(2, 3, 0), lambda p: 0.5, 9, 3, start=3)
    assert len({tuple(point) for point, _ in found}) == 9


def test_before_anything_is_known_the_points_are_spread():
    search = BayesianSearch(2, 2, 0)
    assert search.ask(8).shape == (8, 2)
