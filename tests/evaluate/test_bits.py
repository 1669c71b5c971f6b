"""Stored bits and language loss: by hand, and on models whose knowledge is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from helpers.readings import F, N, S, reading
from lacy.evaluate.bits import fact_loss, language_loss, stored_bits, value_costs
from lacy.results import as_data

LN2 = math.log(2)


def test_cost_of_a_value_is_the_sum_over_its_tokens():
    document = reading(
        [S, F, N, S, N], loss=[LN2, 2 * LN2, 9.0, LN2, 9.0], fact=[0, 0, -1, 1, -1],
        relations=("born", "town"),
    )  # fmt: skip
    assert value_costs(document) == {"born": pytest.approx(3.0), "town": pytest.approx(1.0)}


def test_only_the_first_mention_counts():
    document = reading([S, S, N], loss=[2.0, 0.0, 0.0], fact=[0, 1, -1], relations=("a", "a"))
    assert value_costs(document) == {"a": pytest.approx(2.0 / LN2)}


def test_a_value_cut_off_by_the_context_is_left_out():
    document = reading([S, N, S], loss=[LN2] * 3, fact=[0, -1, 1], relations=("a", "b"))
    assert value_costs(document) == {"a": pytest.approx(1.0)}


def told(cost_bits, relation="a", name="d"):
    return reading(
        [S, N], loss=[cost_bits * LN2, 0.0], fact=[0, -1], relations=(relation,), name=name
    )


def test_bits_by_hand():
    found = stored_bits([told(1.0), told(3.0)], ["Ann", "Bob"], {"a": 5.0})
    assert found.per_fact.value == pytest.approx(3.0)  # 5 - mean(1, 3)
    assert found.per_person.value == pytest.approx(3.0)
    assert found.share.value == pytest.approx(0.6)
    assert (found.facts, found.per_fact.n) == (2, 2)
    json.dumps(as_data(found), allow_nan=False)


def test_the_maximum_is_taken_of_the_mean_not_of_each_fact():
    """Two facts that scatter around ignorance hold nothing; clipped each they would hold 2 bits."""
    found = stored_bits([told(1.0), told(9.0)], ["Ann", "Bob"], {"a": 5.0})
    assert found.per_fact.value == 0.0
    assert found.by_relation["a"].value == pytest.approx(0.0)


def test_a_relation_below_guessing_does_not_reduce_the_bits_of_others():
    documents = [told(9.0, "a"), told(1.0, "b")]
    found = stored_bits(documents, ["Ann", "Bob"], {"a": 5.0, "b": 5.0})
    assert found.per_fact.value == pytest.approx(2.0)  # (0 + 4) / 2 facts
    assert found.by_relation["a"].value == pytest.approx(-4.0)


def test_a_person_counts_once():
    found = stored_bits([told(1.0), told(3.0), told(4.0)], ["Ann", "Ann", "Bob"], {"a": 5.0})
    assert found.per_fact.value == pytest.approx(5.0 - (2.0 + 4.0) / 2)


def test_a_model_that_knows_nothing_stores_nothing():
    """Uniform over 16 values: 4 bits each, whatever the truth."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1e-9, (400, 16))
    nats = np.log(np.exp(logits).sum(1)) - logits[np.arange(400), rng.integers(0, 16, 400)]
    documents = [told(cost / LN2) for cost in nats]
    found = stored_bits(documents, [str(i) for i in range(400)], {"a": 4.0})
    assert found.per_fact.value == pytest.approx(0.0, abs=1e-6)


def test_a_noisy_guesser_is_not_credited():
    """Confident at random: the cross-entropy is far above log2 A, so the bound is 0."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (400, 16))
    truth = rng.integers(0, 16, 400)
    nats = np.log(np.exp(logits).sum(1)) - logits[np.arange(400), truth]
    found = stored_bits([told(c / LN2) for c in nats], [str(i) for i in range(400)], {"a": 4.0})
    assert found.per_fact.value == 0.0
    clipped = np.maximum(0.0, 4.0 - nats / LN2).mean()
    assert clipped > 0.3  # what clipping each fact would have claimed


def test_relations_without_known_bits_are_left_out():
    found = stored_bits([told(1.0, "x")], ["Ann"], {"a": 5.0})
    assert found.facts == 0
    json.dumps(as_data(found), allow_nan=False)


def test_losses_of_words_and_of_facts_by_hand():
    documents = [reading([N, S, N], loss=[1.0, 8.0, 3.0]), reading([N, F, S], loss=[5.0, 2.0, 2.0])]
    words, facts = language_loss(documents), fact_loss(documents)
    assert words.value == pytest.approx(3.0)  # (1 + 3 + 5) / 3
    assert facts.value == pytest.approx(4.0)  # (8 + 2 + 2) / 3
    assert (words.unit, facts.unit) == ("nats per token", "nats per token")
    assert facts.n == 2 and facts.low < facts.value < facts.high
    assert math.isnan(fact_loss([reading([N, N], loss=[1.0, 1.0])]).value)


def test_the_two_losses_add_up_to_the_whole_loss():
    rng = np.random.default_rng(2)
    documents = [reading(rng.choice([N, S, F], 50), loss=rng.random(50)) for _ in range(4)]
    share = np.mean([d.is_fact for d in documents])
    whole = np.mean([d.loss for d in documents])
    parts = share * fact_loss(documents).value + (1 - share) * language_loss(documents).value
    assert parts == pytest.approx(whole)
