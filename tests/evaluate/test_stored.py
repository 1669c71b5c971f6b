"""A stopped measurement goes on where it was: stored texts are not generated again."""

import pytest

from lacy.almanac import Opening, Subject, write_facts
from lacy.cascade import Engine
from lacy.evaluate import evaluate_openings
from lacy.evaluate.stored import stored_answers, stored_texts, unique_names
from lacy.results import AnswerStore
from lacy.sources.db import Database
from lacy.testing import scripted

PEOPLE = [
    Subject(f"{first} {last}", "person", {"birth place": place})
    for first, last, place in [
        ("Ann", "Bell", "Oslo"), ("Bob", "Hill", "Rome"), ("Cyd", "Ray", "Bonn"),
    ]
]  # fmt: skip
OPENINGS = [Opening(f"{s.name} was born in", s, ("birth place",)) for s in PEOPLE]
TEXTS = [opening.text for opening in OPENINGS]


def speak(text):
    rest = " Paris."
    said = text.partition("was born in")[2]
    return rest[len(said)] if rest.startswith(said) and said != rest else ""


@pytest.fixture
def loaded():
    return scripted(speak, lambda text: text.endswith("born in"), context=100)


def test_only_missing_texts_are_generated(tmp_path, loaded, monkeypatch):
    engine = Engine(loaded, None, "never", max_new_tokens=16, batch_size=2)
    expected = engine.generate(TEXTS)
    generated = []
    generate = Engine.generate

    def count(self, prompts, subjects=None, **more):
        if len(generated) == stop_after:
            raise KeyboardInterrupt
        generated.append(list(prompts))
        return generate(self, prompts, subjects, **more)

    monkeypatch.setattr(Engine, "generate", count)
    stop_after = 1
    with AnswerStore(tmp_path / "a.jsonl") as store, pytest.raises(KeyboardInterrupt):
        stored_answers(engine, TEXTS, [None] * 3, store)
    assert generated == [TEXTS[:2]]
    stop_after = 9
    with AnswerStore(tmp_path / "a.jsonl") as store:
        assert stored_answers(engine, TEXTS, [None] * 3, store) == expected
        assert generated == [TEXTS[:2], TEXTS[2:]]
        assert stored_answers(engine, TEXTS, [None] * 3, store) == expected
        assert len(generated) == 2
        longer = Engine(loaded, None, "never", max_new_tokens=3, batch_size=2)
        assert stored_answers(longer, TEXTS, [None] * 3, store) != expected


def test_texts_that_share_a_budget_are_kept_together(tmp_path, loaded, monkeypatch):
    engine = Engine(loaded, None, "budget=0.5", max_new_tokens=8, batch_size=1)
    sizes = []
    generate = Engine.generate

    def count(self, prompts, subjects=None, **more):
        sizes.append(len(prompts))
        return generate(self, prompts, subjects, **more)

    monkeypatch.setattr(Engine, "generate", count)
    with AnswerStore(tmp_path / "a.jsonl") as store:
        together = stored_answers(engine, TEXTS, [None] * 3, store)
        assert stored_answers(engine, TEXTS, [None] * 3, store) == together
        stored_answers(engine, TEXTS[:2], [None] * 2, store)
    assert sizes == [3, 2]


def test_a_measurement_read_from_the_store_equals_the_first_one(tmp_path, loaded):
    path = write_facts(tmp_path / "facts.sqlite", PEOPLE)
    policies = {"alone": "never", "gate": "threshold=0"}
    found = []
    for _ in range(2):
        with (
            Database(path, name="facts") as source,
            AnswerStore(tmp_path / "answers.jsonl") as store,
        ):
            measured = evaluate_openings(
                loaded, OPENINGS, source, policies, abstain=None, store=store
            )
        found.append(measured)
    first, again = found
    assert first.results() == again.results()
    assert [answers.answers for answers in first.conditions.values()] == [
        answers.answers for answers in again.conditions.values()
    ]
    alone, gate = again.units()
    assert gate.names == ("Ann Bell", "Bob Hill", "Cyd Ray")
    assert gate.conditions["condition"] == "gate"
    assert gate.counts["completed"].sum() == sum(again.conditions["gate"].right) == 3
    assert alone.counts["completed"].sum() == 0
    assert gate.texts[0].startswith("Ann Bell was born in Oslo")


def test_questions_asked_twice_are_asked_once(loaded):
    engine = Engine(loaded, None, "never", max_new_tokens=16)
    asked = []

    def ask(texts):
        asked.extend(texts)
        return engine.generate(texts)

    found = stored_texts(engine, [TEXTS[0], TEXTS[1], TEXTS[0]], ask, None)
    assert asked == TEXTS[:2]
    assert found[0] == found[2] != found[1]


def test_names_are_unique():
    assert unique_names(["a", "b", "a", "a (2)", "a"]) == ("a", "b", "a (2)", "a (2) (2)", "a (3)")
