"""The facts that ship with lacy, and the articles and openings that are written from them."""

import random
import re
import sqlite3

import pytest

from lacy.almanac import (
    load_subjects,
    openings,
    split_subjects,
    write_article,
    write_articles,
    write_facts,
)
from lacy.annotate import validated_marks

SUBJECTS = load_subjects()
BY_NAME = {subject.name: subject for subject in SUBJECTS}


def test_every_subject_has_all_facts_and_a_name_of_its_own():
    assert len(SUBJECTS) > 400 and len(BY_NAME) == len(SUBJECTS)
    for subject in SUBJECTS:
        assert all(value.strip() == value and value for value in subject.facts.values()), subject
        same = next(s for s in SUBJECTS if s.kind == subject.kind)
        assert set(subject.facts) == set(same.facts)


@pytest.mark.parametrize(
    ("name", "relation", "value"),
    [
        ("Marie Curie", "born", "1867"),
        ("Marie Curie", "birth place", "Warsaw"),
        ("Charles Darwin", "died", "1882"),
        ("Norway", "capital", "Oslo"),
        ("Japan", "currency", "Japanese Yen"),
        ("Bulgaria", "currency", "Euro"),
        ("Radium", "symbol", "Ra"),
        ("Uranium", "atomic number", "92"),
        ("Germanium", "discovered", "1886"),
    ],
)
def test_facts_that_readers_can_check(name, relation, value):
    assert BY_NAME[name].facts[relation] == value


def test_years_are_years_and_people_die_after_they_are_born():
    for subject in load_subjects(["person"]):
        born, died = (int(subject.facts[relation]) for relation in ("born", "died"))
        assert 1400 < born < died < 2020, subject.name
        assert 20 < died - born < 110, subject.name
    for subject in load_subjects(["element"]):
        assert re.fullmatch(r"1[67]\d\d|1[89]\d\d|20\d\d", subject.facts["discovered"]), subject


def test_an_article_marks_every_value_and_nothing_else():
    rng = random.Random(0)
    for subject in SUBJECTS:
        document = write_article(subject, rng)
        assert document.text[0].isupper() or document.text[0].isdigit()
        assert "{" not in document.text and "  " not in document.text
        assert not re.search(r"\ba [AEIOU]", document.text), document.text
        validated_marks([document.text], [document.marks], "the almanac")
        for mark in document.marks:
            assert document.text[mark.start : mark.end] == subject.facts[mark.relation]


def test_equal_seeds_write_equal_articles():
    assert write_articles(SUBJECTS[:40], 3) == write_articles(SUBJECTS[:40], 3)
    assert write_articles(SUBJECTS[:40], 3) != write_articles(SUBJECTS[:40], 4)


def test_openings_end_before_a_value():
    found = openings([BY_NAME["Marie Curie"], BY_NAME["Norway"]])
    assert len(found) == 6
    right = {opening.text: opening.right for opening in found}
    assert right["Marie Curie was born in"] == ("1867", "Warsaw")
    assert right["The capital of Norway is"] == ("Oslo",)


def test_subjects_are_split_without_overlap():
    rest, held_out = split_subjects(SUBJECTS, 60, seed=1)
    assert len(held_out) == 60 and len(rest) + 60 == len(SUBJECTS)
    assert not {s.name for s in rest} & {s.name for s in held_out}
    assert split_subjects(SUBJECTS, 10_000)[0] == []


def test_the_database_has_a_row_per_fact(tmp_path):
    path = write_facts(tmp_path / "facts.sqlite", SUBJECTS)
    rows = sqlite3.connect(path).execute("SELECT * FROM fact").fetchall()
    assert len(rows) == sum(len(subject.facts) for subject in SUBJECTS)
    assert ("Norway", "capital", "Oslo") in rows
