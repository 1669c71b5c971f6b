"""Losses with calls, and choices, along true texts."""

import math

import pytest
import torch

from helpers import models
from lacy.cascade import Engine, read_along
from lacy.evaluate import ChoiceMade, choices_along, summarize_choices, with_calls
from lacy.model import without_call
from lacy.sources import ScriptedSource
from lacy.types import Candidate, Document, Reply

TOKENIZER = models.ALL["byte_level"]
STORY = "Ada saw Rome and Oslo."
OFFERED = [Candidate(f" {value}", context=STORY) for value in ("Rome", "Oslo", "Rom", "3")]


def engine_of(policy="threshold=-1000", **settings):
    loaded = models.llama(TOKENIZER)
    source = ScriptedSource([Reply(tuple(OFFERED), ranked=True)])
    return Engine(loaded, source, policy, restate=True, **settings)


def plain_losses(engine, text):
    ids = [engine.begin_id, *engine.token_text.encode(text)]
    with torch.no_grad():
        logits_TV = engine.model(input_ids=torch.tensor([ids])).logits[0]
    logp_TV = torch.log_softmax(without_call(logits_TV, engine.call_id), -1)
    return [-float(logp_TV[n, token]) for n, token in enumerate(ids[1:])]


def test_without_calls_the_loss_is_that_of_the_model():
    engine = engine_of("never")
    result = choices_along(engine, [Document("1", STORY), Document("2", "She left.")])
    losses = plain_losses(engine, STORY) + plain_losses(engine, "She left.")
    assert result.loss.value == pytest.approx(sum(losses) / len(losses), abs=1e-4)
    assert result.loss_with_calls.value == result.loss.value and result.calls.value == 0
    assert math.isnan(result.right.value)


def test_a_given_value_costs_its_choice_and_other_tokens_cost_theirs():
    engine = engine_of()
    text, steps = read_along(engine, STORY, words=1)
    measured = with_calls(text, steps)
    own = plain_losses(engine, STORY)
    assert measured.loss == pytest.approx(sum(own), abs=1e-3)
    expected, given = 0.0, 0
    for step, cost in zip(steps, own, strict=True):
        if step.start < given:
            continue
        follows = [o for o in step.offers if o.text in (" Rome", " Oslo")
                   and STORY.startswith(o.text, step.start)]  # fmt: skip
        if step.called and follows:
            expected -= follows[0].score
            given = step.start + len(follows[0].text)
        else:
            expected += cost
            if step.called and step.offers:
                expected -= math.log(1 - sum(math.exp(o.score) for o in step.offers))
    assert measured.loss_with_calls == pytest.approx(expected, abs=1e-3)
    assert sum(choice.right is not None for choice in measured.choices) == 2
    assert "Rom" not in {text[s.start : s.start + 4].strip() for s in steps if s.start >= given}


def test_shares_are_of_calls_with_an_offered_value():
    engine = engine_of()
    result = choices_along(engine, [Document("1", STORY)] * 3, start=[0, 4, 12])
    assert result.offered.value == 5 / sum(text.calls for text in result.texts)
    assert result.right == summarize_choices(result.texts).right
    assert [sum(c.right is not None for c in text.choices) for text in result.texts] == [2, 2, 1]


def test_a_choice_without_room_for_none_stays_finite():
    choice = ChoiceMade((0.0,), None)
    assert choice.loss == pytest.approx(-math.log(1e-12))
    assert ChoiceMade((-0.5, -1.5), 1).loss == 1.5


def test_a_model_that_does_not_read_has_no_probabilities():
    with pytest.raises(ValueError, match="reads"):
        choices_along(engine_of(read=0), [Document("1", STORY)])
