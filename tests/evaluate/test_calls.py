"""Call quality against gold positions: counted by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.readings import F, N, S, reading
from lacy.evaluate.calls import (
    call_calibration,
    call_quality,
    decision_calibration,
    operating_point,
    separation,
    threshold_at,
)
from lacy.results import as_data

DOCUMENTS = [
    reading([N, S, F, N], [0.0, 3.0, -2.0, 1.0]),
    reading([S, F, N, N], [2.0, 0.5, 1.0, -1.0]),
]


def test_three_groups_of_tokens_are_compared_with_words():
    found = separation(DOCUMENTS, "margin")
    # words: 0, 1, 1, -1; starts: 3, 2 beat all; later: -2 beats none, 0.5 beats 0 and -1
    assert found.value_start.value == 1.0
    assert found.later.value == pytest.approx(2 / 8)
    assert found.fact.value == pytest.approx((8 + 2) / 16)
    assert found.fact.n == 2


def test_all_signals_are_higher_where_a_call_is_useful():
    """A small top-2 margin means unsure, hence "rather call"."""
    assert separation(DOCUMENTS, "top2").fact.value == separation(DOCUMENTS, "margin").fact.value
    assert separation(DOCUMENTS, "entropy").fact.value == pytest.approx(10 / 16)


def test_operating_point_by_hand():
    found = operating_point(DOCUMENTS, 0.75)  # calls: 3.0, 1.0 | 2.0, 1.0
    assert found.call_rate.value == pytest.approx(4 / 8)
    assert found.precision.value == pytest.approx(2 / 4)
    assert found.recall.value == pytest.approx(2 / 4)
    assert found.start_recall.value == 1.0


def test_no_call_above_the_largest_margin():
    found = operating_point(DOCUMENTS, 99.0)
    assert found.call_rate.value == 0.0
    assert math.isnan(found.precision.value)
    assert found.recall.value == 0.0


def test_the_threshold_gives_the_requested_rate():
    rng = np.random.default_rng(0)
    documents = [reading([N] * 25, rng.normal(size=25)) for _ in range(8)]
    for rate in (0.0, 0.15, 0.22, 0.5, 1.0):
        realised = operating_point(documents, threshold_at(documents, rate)).call_rate.value
        assert realised == pytest.approx(rate, abs=1e-9)


def test_no_documents_give_no_scores():
    assert threshold_at([], 0.2) == -math.inf
    assert math.isnan(separation([], "margin").fact.value)


def test_calibration_error_by_hand():
    document = reading([S, N, S, N], p_call=[0.9, 0.9, 0.1, 0.1])
    found = call_calibration([document, document], bins=10)
    # both bins: half of the tokens are facts; gaps 0.4 and 0.4
    assert found.error.value == pytest.approx(0.4)
    assert [(b.tokens, b.observed) for b in found.bins] == [(4, 0.5), (4, 0.5)]
    assert found.bins[0].predicted == pytest.approx(0.1)


def test_correct_certainty_is_calibrated():
    document = reading([S, N], p_call=[1.0, 0.0])
    assert call_calibration([document] * 3).error.value == 0.0


def test_calibrated_model_has_a_small_error():
    rng = np.random.default_rng(1)
    documents = []
    for _ in range(100):
        p = rng.random(200)
        documents.append(reading(np.where(rng.random(200) < p, S, N), p_call=p))
    assert call_calibration(documents).error.value < 0.02


def slow_calibration(documents, bins, *, decisions):
    """Bin by bin and token by token: error and (tokens, mean p, share due) of each bin."""
    tokens = [
        (float(p), bool(start if decisions else fact))
        for d in documents
        for p, start, fact in zip(d.p_call, d.is_start, d.is_fact, strict=True)
        if not decisions or start or not fact
    ]
    gap, table = 0.0, []
    for b in range(bins):
        inside = [(p, due) for p, due in tokens if b <= min(int(p * bins), bins - 1) < b + 1]
        if inside:
            predicted = sum(p for p, _ in inside) / len(inside)
            observed = sum(due for _, due in inside) / len(inside)
            gap += abs(predicted - observed) * len(inside) / len(tokens)
            table.append((len(inside), predicted, observed))
    return gap, table


@pytest.mark.parametrize("decisions", [False, True])
def test_calibration_equals_the_slow_computation(decisions):
    rng = np.random.default_rng(3)
    documents = [
        reading(rng.choice([N, N, S, F], size), p_call=rng.random(size)) for size in (40, 7, 90)
    ]
    measure = decision_calibration if decisions else call_calibration
    found, (gap, table) = measure(documents), slow_calibration(documents, 15, decisions=decisions)
    assert found.error.value == pytest.approx(gap)
    assert len(found.bins) == len(table)
    for one, (tokens, predicted, observed) in zip(found.bins, table, strict=True):
        assert one.tokens == tokens
        assert (one.predicted, one.observed) == pytest.approx((predicted, observed))


def test_decision_calibration_leaves_out_later_tokens_of_values():
    """Sure at every value's start and silent inside it: right for whole values, not for tokens."""
    document = reading([N, S, F, F, N], p_call=[0.0, 1.0, 0.0, 0.0, 0.0])
    assert call_calibration([document] * 3).error.value == pytest.approx(2 / 5)
    decided = decision_calibration([document] * 3)
    assert decided.error.value == 0.0
    assert sum(b.tokens for b in decided.bins) == 9
    quality = call_quality([document] * 3)
    assert quality.decision == decided
    assert as_data(quality)["decision"] == as_data(decided)


def test_texts_without_a_decision_have_no_calibration():
    found = decision_calibration([reading([F, F], p_call=[0.5, 0.5])] * 2)
    assert math.isnan(found.error.value) and not found.bins
    assert decision_calibration([]).error.n == 0


def test_call_quality_is_valid_json():
    found = call_quality(DOCUMENTS, call_rate=0.25)
    assert found.at_rate is not None
    assert found.at_rate.call_rate.value == pytest.approx(0.25)
    assert found.at_zero.call_rate.value == pytest.approx(5 / 8)
    json.dumps(as_data(found), allow_nan=False)
    json.dumps(as_data(call_quality(DOCUMENTS)), allow_nan=False)


tokens = st.lists(st.tuples(st.sampled_from([N, S, F]), st.floats(-5, 5)), min_size=1, max_size=20)


@given(st.lists(tokens, min_size=2, max_size=4), st.permutations(range(4)))
@settings(max_examples=30, deadline=None)
def test_order_of_documents_does_not_matter(docs, order):
    documents = [reading(*zip(*doc, strict=True)) for doc in docs]
    shuffled = [documents[i] for i in order if i < len(documents)]
    a, b = operating_point(documents, 0.0), operating_point(shuffled, 0.0)
    assert as_data(a) == as_data(b)
    first, second = separation(documents, "margin"), separation(shuffled, "margin")
    assert first.fact.value == pytest.approx(second.fact.value, nan_ok=True)
