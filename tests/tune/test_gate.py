"""The regression and its turns, against slow references."""

import numpy as np
import pytest

from lacy.errors import LacyError
from lacy.tune.gate import fit_row, folds


def drawn(seed=0, tokens=600, width=6):
    rng = np.random.default_rng(seed)
    hidden_ND = rng.normal(size=(tokens, width)) * [1, 5, 0.2, 1, 3, 1] + [3, 0, 1, -2, 0, 0]
    due_N = rng.random(tokens) < 1 / (1 + np.exp(2.5 - hidden_ND[:, 1] / 3))
    return hidden_ND.astype(np.float32), due_N


def test_the_row_minimises_the_penalised_loss():
    hidden_ND, due_N = drawn()
    penalty = 0.05
    row_D = fit_row(hidden_ND, due_N, penalty)
    scale_D = hidden_ND.std(0, dtype=np.float64)
    p_N = 1 / (1 + np.exp(-hidden_ND @ row_D))
    # d/dv of sum(log loss) + |v|^2 / (2 C), for the row v = w * scale of scaled features
    gradient_D = penalty * ((p_N - due_N) @ (hidden_ND / scale_D)) + row_D * scale_D
    assert np.abs(gradient_D).max() < 1e-2 * np.abs(row_D * scale_D).max()


def test_the_row_has_the_base_rate_without_a_bias():
    hidden_ND, due_N = drawn(1, 4000)
    p_N = 1 / (1 + np.exp(-hidden_ND @ fit_row(hidden_ND, due_N, 1.0)))
    assert p_N.mean() == pytest.approx(due_N.mean(), abs=0.01)


def test_a_constant_state_does_no_harm():
    hidden_ND, due_N = drawn()
    hidden_ND[:, 0] = 4.0
    assert np.isfinite(fit_row(hidden_ND, due_N, 1.0)).all()


@pytest.mark.parametrize("due", [True, False])
def test_nothing_to_tell_apart(due):
    hidden_ND, _ = drawn()
    with pytest.raises(LacyError) as caught:
        fit_row(hidden_ND, np.full(len(hidden_ND), due), 1.0)
    assert caught.value.code == "E165"


@pytest.mark.parametrize("articles", [5, 23, 40])
def test_each_article_is_reported_once_and_never_by_a_fit_on_it(articles):
    article_N = np.repeat(np.arange(articles), 3)
    reported = []
    for fold in folds(article_N, seed=3):
        parts = [set(article_N[rows]) for rows in (fold.fit, fold.mix, fold.report)]
        assert set.union(*parts) == set(range(articles))
        assert sum(map(len, parts)) == articles  # so they are disjoint
        assert all(parts)
        reported += fold.report.tolist()
    assert sorted(reported) == list(range(len(article_N)))
