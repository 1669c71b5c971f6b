"""Do calls fall where a value is due? Real answers of the cascade, places known from gold marks."""

from __future__ import annotations

import json
import math

import pytest

from helpers.worlds import TinyWorld, answer
from lacy.cascade import Engine, Never, Oracle
from lacy.cascade.policy import Always, Random
from lacy.corpus import train_tokenizer
from lacy.evaluate.facts import COUNTS, due_calls, grade, person_counts, score_facts
from lacy.results import as_data
from lacy.sources import ScriptedSource, Truth
from lacy.testing import scripted_with
from lacy.world import make_world


@pytest.fixture(scope="module")
def world():
    return make_world(30, 2)


@pytest.fixture(scope="module")
def texts(world):
    """True texts by subject, of people whose name begins no other text."""
    documents = list(world.documents("valid"))
    alone = [
        d for d in documents if sum(o.text.startswith(d.meta["person"]) for o in documents) < 2
    ]
    return {d.meta["person"]: d for d in alone[:4]}


@pytest.fixture(scope="module")
def loaded(texts):
    """Speaks true texts word for word."""

    def speak(text):
        whole = [d.text for d in texts.values() if d.text.startswith(text)]
        return whole[0][len(text) :] if whole else "x"

    return scripted_with(train_tokenizer([d.text for d in texts.values()], 500), speak)


def told(loaded, texts, source, policy, unit):
    engine = Engine(loaded, source, policy, unit=unit, max_new_tokens=400, read=0)
    answers = engine.generate(list(texts), list(texts))
    assert [a.text for a in answers] == [d.text for d in texts.values()]
    return answers


def slow(answers, texts, unit):
    """Calls right before a value (with or without its space) or, by words and tokens, inside."""
    due = 0
    for found, document in zip(answers, texts.values(), strict=True):
        for n, span in enumerate(found.spans):
            place = sum(len(before.text) for before in found.spans[:n])
            due += span.asked and any(
                place in (m.start - 1, m.start) or (unit != "value" and m.start < place < m.end)
                for m in document.marks
            )
    return due


@pytest.mark.parametrize("unit", ["value", "word", "token"])
@pytest.mark.parametrize("policy", ["oracle", "always", "random"])
@pytest.mark.parametrize("silent", [False, True])
def test_calls_of_the_cascade_against_gold_marks(world, texts, loaded, unit, policy, silent):
    made = {"oracle": Oracle(world.expects_value), "always": Always(), "random": Random(0.4)}
    source = ScriptedSource([]) if silent else Truth(world, tokenizer=loaded.tokenizer)
    answers = told(loaded, texts, source, made[policy], unit)
    wanted, calls = slow(answers, texts, unit), sum(a.calls for a in answers)
    assert wanted > 0
    assert sum(due_calls(a, world, unit=unit) for a in answers) == wanted
    scores = score_facts(answers, list(texts), world, unit=unit)
    assert scores["call_starts"].value == pytest.approx(wanted / calls)
    assert (scores["call_starts"].value == 1.0) == (policy == "oracle")
    assert scores["call_starts"].n == len(texts)
    assert as_data(scores)["scores"]["call_starts"]["value"] == pytest.approx(wanted / calls)


def test_a_call_within_a_value_is_due_by_token_but_not_by_value(world):
    name = world.everyone[0].name
    date = world.everyone[0].facts["birth_date"]
    given = answer(
        name, (" was born on", "slm"), (f" {date[:2]}", "truth"), (date[2:], "truth"), (",", "slm"),
        (" lively", "slm", 1, True),
    )  # fmt: skip
    assert [due_calls(given, world, unit=unit) for unit in ("token", "word", "value")] == [2, 2, 1]
    assert grade(given, name, world).due == 1
    assert grade(given, name, world, unit="token").due == 2


def test_call_starts_are_undefined_without_calls_or_knowledge(world, texts, loaded):
    answers = told(loaded, texts, None, Never(), "value")
    assert math.isnan(score_facts(answers, list(texts), world)["call_starts"].value)
    given = [answer("Ann", (" [born=", "slm"), ("1901", "database"), ("]", "slm"))] * 2
    scores = score_facts(given, ["Ann", "Bob"], TinyWorld())
    assert math.isnan(scores["call_starts"].value)
    assert scores["calls_per_answer"].value == 1.0
    json.dumps(as_data(scores), allow_nan=False)
    table = person_counts(given, ["Ann", "Bob"], [grade(a, "Ann", TinyWorld()) for a in given])[1]
    assert math.isnan(table[0, list(COUNTS).index("due")])
