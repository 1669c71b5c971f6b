"""The made-up world: its texts, marks, truth and reader must agree, whatever the seed."""

import random
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.world import RELATIONS, load_world, make_world, phrasings
from lacy.world.phrasings import all_forms, expand

SPLITS = ("train", "valid", "fresh", "unseen")


@pytest.fixture(scope="module")
def world():
    return make_world(people=120, seed=3)


@given(seed=st.integers(0, 2**32), people=st.integers(10, 60))
@settings(max_examples=10, deadline=None)
def test_texts_marks_truth_and_reader_agree_in_every_split(seed, people):
    world = make_world(people, seed)
    for split in SPLITS:
        for document in world.documents(split):
            truth = world.truth(document.meta["person"])
            stated = [(m.relation, document.text[m.start : m.end]) for m in document.marks]
            assert stated and all(truth[relation] == value for relation, value in stated)
            assert [(c.relation, c.value) for c in world.claims(document.text)] == stated
            for mark in document.marks:
                assert world.expects_value(document.text[: mark.start]) == mark.relation
                assert world.expects_value(document.text[: mark.end]) is None


def test_the_same_seed_gives_the_same_world_and_another_seed_another(world):
    again = make_world(people=120, seed=3)
    assert again.everyone == world.everyone
    assert [d.text for d in again.documents()] == [d.text for d in world.documents()]
    assert make_world(people=120, seed=4).everyone != world.everyone


def test_wording_is_free_and_order_varies_while_facts_stay(world):
    name = world.people()[0].name
    texts = [d for d in world.documents(per_person=20) if d.meta["person"] == name]
    assert len({d.text for d in texts}) == 20
    assert len({tuple(m.relation for m in d.marks) for d in texts}) > 10
    assert len({len(d.marks) for d in texts}) > 1


def test_a_longer_run_begins_with_the_same_texts(world):
    short = [d.text for d in world.documents(per_person=1)]
    assert [d.text for d in world.documents(per_person=2)][: len(short)] == short


def test_held_out_phrasings_and_people_never_occur_in_training(world):
    kept = [f for leads in phrasings.LEADS.values() for lead in leads[-2:] for f in all_forms(lead)]
    train = [d.text for d in world.documents(per_person=10)]
    assert not any(f" {lead} " in text for lead in kept for text in train)
    assert all(any(f" {lead} " in d.text for lead in kept) for d in world.documents("fresh"))
    unseen = {p.name for p in world.people("unseen")}
    assert unseen and not unseen & {p.name for p in world.people("train")}
    assert not unseen & {d.meta["person"] for d in world.documents()}


def test_names_and_values_share_prefixes(world):
    names = [p.name for p in world.everyone]
    assert any(a != b and b.startswith(a) for a in names for b in names), "names that continue"
    assert len({p.last for p in world.everyone}) < len(names), "shared surnames"
    assert any(len(p.facts) < len(RELATIONS) for p in world.everyone), "absent attributes"
    places = {p.facts["birth_place"] for p in world.everyone if "birth_place" in p.facts}
    assert len({place[:3] for place in places}) < len(places), "shared prefixes"
    assert any(p.facts.get("spouse") in names for p in world.everyone), "spouses are people too"


def test_no_lead_names_two_relations_or_ends_another_relations_lead():
    relation_of = {}
    for relation, leads in phrasings.LEADS.items():
        for lead in leads:
            for form in all_forms(lead):
                assert relation_of.setdefault(form, relation) == relation, form
    for a, of_a in relation_of.items():
        for b, of_b in relation_of.items():
            assert of_a == of_b or not b.endswith(f" {a}"), (a, b)


def test_claims_in_garbled_text_are_read_as_wrong(world):
    person = next(p for p in world.people() if "birth_place" in p.facts)
    text = f"{person.name} was born in Xanadu Keep, merry. {person.last} married nobody."
    assert [(c.relation, c.value) for c in world.claims(text)] == [
        ("birth_place", "Xanadu Keep"),
        ("spouse", "nobody"),
    ]
    assert world.claims("Nobody here was") == []
    assert world.claims("she was born on") == []


def test_the_database_holds_exactly_the_truth(world, tmp_path):
    path = world.to_sqlite(tmp_path / "truth.sqlite")
    db = sqlite3.connect(path)
    rows = set(db.execute("SELECT subject, relation, value FROM fact"))
    names = {name for (name,) in db.execute("SELECT name FROM person")}
    db.close()
    assert rows == {(p.name, r, v) for p in world.everyone for r, v in p.facts.items()}
    assert names == {p.name for p in world.everyone}


def test_save_and_load_give_the_same_world(world, tmp_path):
    world.save(tmp_path)
    assert load_world(tmp_path).everyone == world.everyone
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(LacyError, match="E81"):
        load_world(tmp_path)


def test_too_few_people_is_a_clear_error():
    with pytest.raises(LacyError, match="at least 10"):
        make_world(people=3)


def test_load_in_bits_grows_with_people():
    small, large = make_world(50, 0), make_world(100, 0)
    assert 1.5 * small.bits() < large.bits() < 2.5 * small.bits()
    per_person = small.bits() / len(small.people())
    assert 45 < per_person < 75


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_the_reader_never_fails_and_its_places_hold(text):
    world = make_world(20, 0)
    for claim in world.claims(text):
        assert text[claim.start : claim.end] == claim.value
    world.expects_value(text)


def test_all_forms_lists_everything_that_expand_can_return():
    lead = "was [raised|brought up] in [the|]"
    drawn = {expand(lead, random.Random(i)).strip() for i in range(50)}
    assert drawn == {form.strip() for form in all_forms(lead)}
