"""Ridge regressions for all penalties at once against one at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import Ridge

from lacy.route.linear import STEPS, dense_ridges, fit_linear_heads, linear_from, sparse_ridges

STRENGTHS = (0.5, 2.0, 20.0)


def one_at_a_time(matrix, targets):
    """Fit one regression per penalty and route; the slow reference."""
    return np.stack([
        np.stack([Ridge(alpha=one, fit_intercept=False, solver="cholesky")
                  .fit(matrix, target).coef_ for target in targets.T], 1)
        for one in STRENGTHS
    ])  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30), st.integers(2, 40), st.integers(1, 4))
def test_all_strengths_at_once_equal_one_at_a_time(seed, cases, inputs, routes):
    chance = np.random.default_rng(seed)
    matrix = chance.normal(size=(cases, inputs)) * (chance.random((cases, inputs)) < 0.5)
    targets = chance.random((cases, routes))
    expected = one_at_a_time(matrix, targets)
    assert np.allclose(dense_ridges(matrix, targets, STRENGTHS), expected, atol=1e-8)
    found = sparse_ridges(sparse.csr_matrix(matrix), targets, STRENGTHS)
    # Gradients end at a residual of a thousandth, or after STEPS steps.
    assert cases > STEPS or np.allclose(found, expected, atol=5e-3)


def test_missing_targets_are_left_out_of_their_route():
    chance = np.random.default_rng(0)
    matrix, targets = chance.normal(size=(40, 5)), chance.random((40, 3))
    targets[:25, 1] = np.nan
    for inputs in (matrix, sparse.csr_matrix(matrix)):
        head = fit_linear_heads(inputs, targets, (1.0,))[0]
        alone = fit_linear_heads(inputs[25:], targets[25:, [1]], (1.0,))[0]
        whole = fit_linear_heads(inputs, targets[:, [0, 2]], (1.0,))[0]
        scores = head.scores(inputs)
        assert np.allclose(scores[:, [0, 2]], whole.scores(inputs))
        # A dense head standardises by all rows, so the penalty differs a little.
        assert np.allclose(scores[:, [1]], alone.scores(inputs), atol=0.02)


def test_a_route_without_targets_scores_nothing():
    targets = np.full((6, 2), np.nan)
    targets[:, 0] = [0, 1, 0, 1, 0, 1]
    head = fit_linear_heads(np.arange(12.0).reshape(6, 2), targets, (1.0,))[0]
    assert head.scores(np.ones((1, 2)))[0, 1] == 0.0


@pytest.mark.parametrize("inputs", [10, 90_000])
def test_stored_weights_are_close(inputs):
    chance = np.random.default_rng(0)
    matrix = sparse.csr_matrix(chance.normal(size=(4, inputs)))
    head = fit_linear_heads(matrix, chance.random((4, 2)), (10.0,))[0]
    again = linear_from(head.arrays())
    assert again.arrays()["weight"].dtype == (np.float32 if inputs == 10 else np.int8)
    assert np.abs(again.weight_FR - head.weight_FR).max() <= np.abs(head.weight_FR).max() / 127
    twice = linear_from(again.arrays())
    assert np.allclose(twice.weight_FR, again.weight_FR, rtol=1e-12, atol=0)
