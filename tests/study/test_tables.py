"""Tables hold what a slow reading of the same counts says."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.evaluate import COUNTS
from lacy.results import METRICS, Score, ratio_sums
from lacy.study.tables import Counts, _mean, condition_scores


def counts(rows):
    people = tuple(f"p{n}" for n in range(len(rows)))
    return Counts(people, pd.DataFrame(rows, columns=list(COUNTS), dtype=float))


@st.composite
def asked(draw):
    """Counts of a few people as they can occur."""
    rows = []
    for _ in range(draw(st.integers(2, 5))):
        facts, calls = draw(st.integers(1, 8)), draw(st.integers(0, 9))
        claims = draw(st.integers(1, 8))
        borrowed = draw(st.integers(0, claims))
        own = claims - borrowed
        own_right = draw(st.integers(0, own))
        borrowed_right = draw(st.integers(0, borrowed))
        row = {
            "answers": 1, "right": own_right + borrowed_right, "claims": claims, "facts": facts,
            "calls": calls, "called": 3 * calls, "tokens": 100, "finished": 1, "own": own,
            "own_right": own_right, "borrowed": borrowed, "borrowed_right": borrowed_right,
            "statements": claims + draw(st.integers(0, 3)), "due": draw(st.integers(0, calls)),
        }  # fmt: skip
        rows.append([row[name] for name in COUNTS])
    return counts(rows)


@settings(deadline=None, max_examples=40)
@given(st.lists(asked(), min_size=1, max_size=3))
def test_figures_are_ratios_of_sums_over_people_of_all_models(models):
    found = condition_scores(models)
    whole = pd.concat([model.table for model in models])
    for name in found:
        top, bottom = (
            sum(whole[c].sum() for c in part.split("+")) for part in METRICS[name].counts
        )
        if bottom:
            assert found[name].value == pytest.approx(top / bottom)
            assert found[name].unit == METRICS[name].unit and found[name].n == len(whole)
            assert found[name].low <= found[name].value + 1e-9 <= found[name].high + 2e-9
        else:
            assert math.isnan(found[name].value)
    f1 = 2 * whole.right.sum() / (whole.claims.sum() + whole.facts.sum())
    assert found["f1"].value == pytest.approx(f1)
    numerators, denominators = ratio_sums("f1", whole)
    assert numerators.sum() / denominators.sum() == pytest.approx(f1)
    assert "recovered" not in found


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(asked(), asked(), asked()), min_size=1, max_size=3))
def test_the_recovered_share_uses_baselines_of_the_same_seeds(models):
    def right(n):
        tables = [model[n].table for model in models]
        return sum(t.right.sum() for t in tables) / sum(t.claims.sum() for t in tables)

    same = all(len(m[0].people) == len(m[1].people) == len(m[2].people) for m in models)
    if same and right(2) != right(1):
        found = condition_scores([m[0] for m in models], [(m[1], m[2]) for m in models])
        expected = (right(0) - right(1)) / (right(2) - right(1))
        assert found["recovered"].value == pytest.approx(expected)
    assert "recovered" not in condition_scores(
        [models[0][0]] * 2, [(models[0][1], models[0][2]), None]
    )


def test_means_over_seeds_have_the_t_interval():
    scores = [Score(value, 0.0, 1.0, 100, "AUROC") for value in (0.9, 0.8, 1.0)]
    found = _mean(scores)
    assert found.value == pytest.approx(0.9) and found.n == 3 and found.unit == "AUROC"
    assert found.high - found.value == pytest.approx(4.30265 * 0.1 / np.sqrt(3), rel=1e-4)
