"""Weights of cases, and regressions with weights against repeated cases."""

import numpy as np
import pytest
from scipy import sparse

from lacy.route.linear import fit_linear_heads
from lacy.route.weights import MOST, source_weights


def test_sources_of_a_route_count_equally_and_its_total_stays():
    targets = np.eye(2)[[0] * 8 + [1] * 4]
    sources = ["old"] * 6 + ["new"] * 2 + ["old"] * 4
    found = source_weights("classes", targets, sources)
    assert found[:6].sum() == pytest.approx(found[6:8].sum())
    assert found[:8].sum() == pytest.approx(8)
    assert found[8:].tolist() == [1.0] * 4


def test_one_case_of_a_source_decides_nothing():
    targets = np.eye(2)[[0] * 400 + [1]]
    found = source_weights("classes", targets, ["old"] * 399 + ["new", "old"])
    assert found[399] / found[0] == pytest.approx(MOST / (200 / 399))


def test_outcomes_and_single_sources_have_no_weights():
    targets = np.ones((3, 2))
    assert source_weights("outcomes", targets, ["a", "b", "c"]) is None
    assert source_weights("classes", np.eye(3), ["a"] * 3) is None


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_a_weight_of_three_is_a_case_three_times(form):
    chance = np.random.default_rng(0)
    matrix, targets = chance.normal(size=(30, 4)), chance.random((30, 2))
    weight = chance.integers(1, 4, 30)
    targets[:5, 1] = np.nan
    repeated = np.repeat(np.arange(30), weight)
    # Standardised alike, so that the penalty means the same; ridge adds up losses, weights average.
    matrix -= matrix[repeated].mean(0)
    matrix /= matrix[repeated].std(0)
    scale = weight.mean()
    one = fit_linear_heads(form(matrix), targets[:, [0]], (1e-6,), weight.astype(float))[0]
    other = fit_linear_heads(form(matrix[repeated]), targets[repeated][:, [0]], (1e-6 * scale,))[0]
    assert np.allclose(one.scores(form(matrix)), other.scores(form(matrix)), atol=2e-3)
    part = fit_linear_heads(form(matrix), targets, (1.0,), weight.astype(float))[0]
    assert np.isfinite(part.scores(form(matrix))).all()
