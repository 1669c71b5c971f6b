"""Probabilities from the scores of parts, against scikit-learn's logistic regression."""

import random

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from helpers.routing import topic_cases
from lacy.route import RouteCase, RouterSettings, fit_router
from lacy.route.mix import fit_mix, mix_from
from lacy.safety import calibration_error


def scores_and_targets(routes=3, cases=200, parts=2, seed=0):
    chance = np.random.default_rng(seed)
    scores = chance.normal(size=(parts, cases, routes))
    odds = 1.5 * scores[0] + 0.9 * scores[1] - 0.4
    return scores, (chance.random((cases, routes)) < 1 / (1 + np.exp(-odds))).astype(float)


def test_outcomes_are_a_logistic_regression_of_each_route():
    scores, targets = scores_and_targets()
    targets[::3, 1] = np.nan
    mix = fit_mix("outcomes", scores, targets)
    found = mix.probabilities(scores)
    scale = scores.std((1, 2))
    for route in range(3):
        known = ~np.isnan(targets[:, route])
        inputs = scores[:, :, route].T / scale
        model = LogisticRegression(C=1.0, tol=1e-9).fit(inputs[known], targets[known, route])
        assert np.allclose(found[:, route], model.predict_proba(inputs)[:, 1], atol=1e-4)


def test_the_order_of_a_part_is_never_reversed():
    scores, targets = scores_and_targets(parts=2)
    mix = fit_mix("outcomes", -scores, targets)
    assert (mix.weight_PR == 0).all()
    # What is left are the mean targets.
    assert np.allclose(mix.probabilities(-scores), targets.mean(0), atol=1e-3)


@pytest.mark.parametrize("kind", ["classes", "outcomes"])
@pytest.mark.parametrize("isotonic", [False, True])
def test_a_mix_is_stored(kind, isotonic):
    scores, targets = scores_and_targets()
    if kind == "classes":
        targets = np.eye(3)[scores[0].argmax(1)]
    mix = fit_mix(kind, scores, targets, isotonic=isotonic)
    again = mix_from(kind, mix.arrays())
    found = mix.probabilities(scores)
    assert np.array_equal(again.probabilities(scores), found)
    assert found.min() >= 0 and found.max() <= 1
    if kind == "classes":
        assert np.allclose(found.sum(1), 1.0)


@pytest.mark.parametrize("calibration", ["platt", "isotonic"])
def test_probabilities_hold_for_other_texts_of_another_source(calibration):
    chance = random.Random(0)
    share = {"birds": 0.2, "boats": 0.6, "sums": 0.9}

    def outcomes(count, seed, sources):
        return [RouteCase(case.text, None,
                          {"small": float(chance.random() < share[case.route]), "large": 1.0},
                          {}, case.source)
                for case in topic_cases(count, sources=sources, seed=seed)]  # fmt: skip

    settings = RouterSettings(head="tfidf", calibration=calibration)
    router = fit_router(outcomes(900, 0, 4), settings)
    new = outcomes(600, 1, 1)
    found = router.scores([case.text for case in new])[:, router.routes.index("small")]
    right = np.array([case.scores["small"] == 1.0 for case in new])
    assert calibration_error(found, right) < 0.08
