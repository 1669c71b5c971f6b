"""The perfect source on a real world: where it answers, where it does not, and in a cascade."""

import asyncio

import pytest

from lacy.cascade import Engine, Oracle
from lacy.cascade.policy import Always
from lacy.corpus import train_tokenizer
from lacy.errors import LacyError
from lacy.evaluate.facts import score_facts
from lacy.model import build_model
from lacy.model.io import Loaded
from lacy.sources import Source, Truth
from lacy.testing import scripted_with
from lacy.types import Request
from lacy.world import make_world


@pytest.fixture(scope="module")
def world():
    return make_world(40, 3)


@pytest.fixture(scope="module")
def documents(world):
    return list(world.documents("valid"))


@pytest.fixture(scope="module")
def loaded(documents):
    tokenizer = train_tokenizer([d.text for d in documents], 500)
    return Loaded(build_model("tiny", tokenizer, context=320, seed=0, layers=1), tokenizer)


def ask(source, text, subject=None, unit="value"):
    [reply] = asyncio.run(source.ask([Request(text, unit, subject)]))
    assert not reply.ranked and not reply.error and len(reply.candidates) < 2
    return reply


def said(*args, **options):
    return "".join(c.text for c in ask(*args, **options).candidates)


def test_the_true_value_is_given_where_it_is_due_and_nothing_elsewhere(world, documents):
    truth = Truth(world)
    assert isinstance(truth, Source)
    for document in documents[:8]:
        due = {m.start: m for m in document.marks} | {m.start - 1: m for m in document.marks}
        inside = {p: m for m in document.marks for p in range(m.start + 1, m.end)}
        for place in range(1, len(document.text) + 1):
            mark = due.get(place) or inside.get(place)
            if not mark and document.text[place - 1 : place + 1].isalpha():
                continue  # "was wed" of "was wedded to": who sees only this expects a spouse
            wanted = document.text[place : mark.end] if mark else ""
            assert said(truth, document.text[:place], document.meta["person"]) == wanted, place


def test_the_subject_is_found_in_the_text(world, documents):
    truth = Truth(world)
    told = 0
    for document in documents:
        for mark in document.marks:
            value = document.text[mark.start : mark.end]
            told += said(truth, document.text[: mark.start - 1]) == f" {value}"
    assert told == sum(len(d.marks) for d in documents)
    assert said(truth, "Somebody was born on") == ""
    assert said(truth, "Somebody was born on", subject="Nobody Known") == ""


def test_evidence_names_the_fact(world):
    person = world.everyone[0]
    [candidate] = ask(Truth(world, name="almanac"), f"{person.name} was born on").candidates
    value = person.facts["birth_date"]
    assert candidate.evidence == f"{person.name} · birth_date · {value} (almanac)"
    assert (candidate.kind, candidate.subject) == ("birth_date", person.name)


def test_missing_facts_are_not_invented(world):
    lacking = [(p, r) for p in world.everyone for r in LEADS if r not in p.facts]
    assert lacking
    assert {said(Truth(world), _lead(person, relation)) for person, relation in lacking} == {""}


def test_a_wrong_value_is_not_continued(world):
    person = world.everyone[0]
    truth, date = Truth(world), person.facts["birth_date"]
    assert said(truth, f"{person.name} was born on {date[:2]}") == date[2:]
    assert said(truth, f"{person.name} was born on {date}") == ""
    assert said(truth, f"{person.name} was born on x{date[:2]}") == ""
    assert said(truth, f"{person.name} was born on{date[:2]}") == ""
    assert said(truth, f"{person.name} was born in {date[:2]}") == ""


@pytest.mark.parametrize("unit", ["word", "token"])
def test_units_add_up_to_the_value(world, loaded, unit):
    person = world.everyone[0]
    for truth in (Truth(world), Truth(world, tokenizer=loaded.tokenizer)):
        start = text = f"{person.name} was born on"
        pieces = []
        while piece := said(truth, text, unit=unit):
            pieces.append(piece)
            text += piece
        assert text == f"{start} {person.facts['birth_date']}"
        if unit == "word" or truth._text is None:
            assert pieces == [f" {word}" for word in person.facts["birth_date"].split()]
        else:
            ids = loaded.tokenizer.encode(f" {person.facts['birth_date']}")
            assert len(pieces) >= len(ids)


def test_known_facts_are_fixed_and_nested(world):
    facts = [(p, r) for p in world.everyone for r in p.facts]
    spread = 3 * (0.25 / len(facts)) ** 0.5
    half, most = Truth(world, knows=0.5, seed=1), Truth(world, knows=0.8, seed=1)
    known = [{(p.name, r) for p, r in facts if r in t.facts(p.name)} for t in (half, most)]
    assert len(known[0]) / len(facts) == pytest.approx(0.5, abs=spread)
    assert known[0] < known[1]
    assert not any(Truth(world, knows=0.0).facts(p.name) for p in world.everyone)
    for share in (0.3, 1.0):
        wrong = Truth(world, errors=share, seed=1)
        found = [(p, r) for p, r in facts if wrong.facts(p.name)[r] != p.facts[r]]
        assert len(found) / len(facts) == pytest.approx(share, abs=spread)
        for person, relation in found:
            value = wrong.facts(person.name)[relation]
            assert value in [p.facts.get(relation) for p in world.everyone]
            assert said(wrong, _lead(person, relation)) == f" {value}"
    assert dict(wrong.facts(person.name)) == dict(
        Truth(world, errors=1.0, seed=1).facts(person.name)
    )


LEADS = {
    "birth_date": "was born on", "birth_place": "was born in", "school": "studied at",
    "field": "majored in", "employer": "worked for", "prize": "won the", "spouse": "married",
}  # fmt: skip


def _lead(person, relation):
    return f"{person.name} {LEADS[relation]}"


def test_a_share_outside_0_to_1_is_an_error(world):
    with pytest.raises(LacyError, match="knows"):
        Truth(world, knows=1.5)
    with pytest.raises(LacyError, match="errors"):
        Truth(world, errors=-0.1)


def begun(documents):
    """True texts up to one of their values, with the value and the subject."""
    cut = [(d, d.marks[n % len(d.marks)]) for n, d in enumerate(documents[:12])]
    prompts = [d.text[: m.start].rstrip() for d, m in cut]
    return prompts, [d.text[m.start : m.end] for d, m in cut], [d.meta["person"] for d, _ in cut]


@pytest.mark.parametrize("unit", ["value", "word", "token"])
def test_an_untrained_model_gives_the_right_values(world, documents, loaded, unit):
    prompts, values, subjects = begun(documents)
    # A whole value is one call; a value by words and tokens is asked for again inside it.
    policy = Oracle(world.expects_value) if unit == "value" else Always()
    truth = Truth(world, tokenizer=loaded.tokenizer)
    engine = Engine(loaded, truth, policy, unit=unit, max_new_tokens=24)
    answers = engine.generate(prompts, subjects)
    for answer, value in zip(answers, values, strict=True):
        assert answer.continuation.startswith(f" {value}")
        spoken = "".join(s.text for s in answer.spans if s.speaker == "truth")
        assert spoken.startswith(f" {value}")


def retold(document, source):
    """A true text with the values that a source has."""
    text, end, values = "", 0, source.facts(document.meta["person"])
    for mark in document.marks:
        text += document.text[end : mark.start] + values[mark.relation]
        end = mark.end
    return text + document.text[end:]


@pytest.mark.parametrize("errors", [0.0, 1.0])
def test_whole_texts_are_as_right_as_the_source(world, documents, loaded, errors):
    """A model with the wording of true texts, and not one value, says all values with this."""
    source = Truth(world, errors=errors)
    alone = [
        d for d in documents if sum(o.text.startswith(d.meta["person"]) for o in documents) < 2
    ]
    texts = {d.meta["person"]: retold(d, source) for d in alone[:6]}

    def speak(text):
        return next((whole[len(text) :] for whole in texts.values() if whole.startswith(text)), "x")

    engine = Engine(
        scripted_with(loaded.tokenizer, speak), source, Oracle(world.expects_value),
        max_new_tokens=400, read=0,
    )  # fmt: skip
    answers = engine.generate(list(texts), list(texts))
    assert [a.text for a in answers] == list(texts.values())
    scores = score_facts(answers, list(texts), world)
    assert scores["facts_right"].value == 1.0 - errors
    assert (scores["borrowed"].value, scores["calls_per_fact"].value) == (1.0, 1.0)
