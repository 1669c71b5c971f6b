"""Figures that a whole evaluation hands on: fact loss, decisions, where calls fell, by unit."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lacy.corpus import train_tokenizer
from lacy.evaluate.facts import score_facts
from lacy.evaluate.world import answer_all, evaluate_world
from lacy.model import build_model
from lacy.model.io import Loaded
from lacy.results import as_data
from lacy.sources import Truth
from lacy.testing import scripted_with
from lacy.world import make_world

SIZE = 500


@pytest.fixture(scope="module")
def world():
    return make_world(20, 4)


@pytest.fixture(scope="module")
def loaded(world):
    tokenizer = train_tokenizer([d.text for d in world.documents()], SIZE)
    return Loaded(build_model("tiny", tokenizer, context=512, seed=0, layers=1), tokenizer)


def test_one_pass_gives_both_losses_and_both_calibrations(world, loaded):
    result = evaluate_world(loaded, world, policies={}, people=5, probe=False)
    assert result.fact_loss is not None and result.calls is not None
    assert result.fact_loss.value == pytest.approx(np.log(SIZE), rel=0.1)  # untrained: uniform
    assert result.fact_loss.n == 5
    shown = as_data(result)
    assert shown["fact_loss"] == as_data(result.fact_loss)
    assert shown["calls"]["decision"]["error"]["n"] == 5
    tokens = [sum(b.tokens for b in c.bins)
              for c in (result.calls.decision, result.calls.calibration)]  # fmt: skip
    assert 0 < tokens[0] < tokens[1]
    json.dumps(shown, allow_nan=False)
    unread = evaluate_world(loaded, world, policies={}, people=2, read=False, probe=False)
    assert unread.fact_loss is None and as_data(unread)["fact_loss"] is None


def test_call_starts_depend_on_the_unit_of_the_calls(world, loaded):
    """Word by word a value is asked for again and again; all of that is due, and only so judged."""
    document = next(world.documents("valid"))
    name = document.meta["person"]
    model = scripted_with(
        loaded.tokenizer, lambda text: document.text[len(text) :] if text else "x"
    )
    condition = answer_all(
        model, world, Truth(world), "always", [name], unit="word", max_new_tokens=400, read=0
    )
    assert condition.answers[0].text == document.text
    by_word, by_value = (
        score_facts(condition.answers, [name], world, unit=unit)["call_starts"]
        for unit in ("word", "value")
    )
    assert condition.facts["call_starts"].value == by_word.value > by_value.value > 0
    assert as_data(condition)["facts"]["scores"]["call_starts"] == as_data(by_word)
