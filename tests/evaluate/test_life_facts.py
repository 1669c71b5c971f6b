"""Birth, death, nationality and occupation, read by patterns and compared with a page or facts."""

import pytest

from helpers.worlds import answer
from lacy.almanac import Subject, write_facts
from lacy.evaluate import (
    by_relation,
    evaluate_articles,
    known_life,
    life_counts,
    life_scores,
    life_verdicts,
    read_life,
)
from lacy.evaluate.life_facts import life_relation
from lacy.results import ratio_scores
from lacy.sources.db import Database
from lacy.testing import scripted
from lacy.types import Document

CURIE = "Marie Curie (Warsaw, 7 November 1867 – 4 July 1934) was a Polish and French physicist."


def read(text, name="Ann Bell"):
    return [(s.relation, s.text) for s in read_life(text, name)]


def dates(text, name="Ann Bell"):
    return {(s.relation, *d) for s in read_life(text, name) for d in s.dates}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ann Bell (12 March 1879 – 1955) was", {("birth date", 12, 3, 1879),
                                                ("death date", None, None, 1955)}),
        ("Ann Bell (1879–1955) was", {("birth date", None, None, 1879),
                                      ("death date", None, None, 1955)}),
        ("Ann Bell (born March 12, 1979) is", {("birth date", 12, 3, 1979)}),
        ("Ann Bell (née Hill; born 1979) is", {("birth date", None, None, 1979)}),
        ("Ann Bell (born Ann Hill; 12 May 1901 – 1955) is", {("birth date", 12, 5, 1901),
                                                            ("death date", None, None, 1955)}),
        ("Ann Bell (born Ann Hill; February 18, 1985) is", {("birth date", 18, 2, 1985)}),
        ("Ann Bell (1884- 30 April 1959)", {("birth date", None, None, 1884),
                                           ("death date", 30, 4, 1959)}),
        ("Ann Bell (b. 1979) is", {("birth date", None, None, 1979)}),
        ("Ann Bell sang. She was born on 1 May 1900.", {("birth date", 1, 5, 1900)}),
        ("Bell was born in 1900, and died in May 1950.", {("birth date", None, None, 1900),
                                                          ("death date", None, 5, 1950)}),
        ("Born in Oslo in 1900, Bell moved to Rome in 1920.", {("birth date", None, None, 1900)}),
        ("Born in Oslo, Bell moved to Rome in 1920.", set()),
        ("She died suddenly in 1950 in Rome.", {("death date", None, None, 1950)}),
        ("Ann Bell died at the age of 71 on 3 June 1950.", {("death date", 3, 6, 1950)}),
        ("Her son Tom was born in 1930. Her father died in 1910.", set()),
        ("She married Tom Hill, born in 1899, in 1920.", set()),
        ("Ann Bell (reigned 1901–1910) was a queen.", set()),
        ("Ann Bell met Tom Hill (born 1899).", set()),
        ("Ann Bell has sung since 1920 (see 1920–1930).", set()),
        ("", set()),
    ],
)  # fmt: skip
def test_dates(text, found):
    assert dates(text) == found


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Ann Bell was born in Oslo on 1 May 1900.", "Oslo"),
        ("Ann Bell was born on 1 May 1900 in Ravenna, Texas.", "Ravenna, Texas"),
        ("Ann Bell (born 1 May 1900 in Oslo) was", "Oslo"),
        ("Ann Bell (1 May 1900, Oslo – 3 May 1950, Rome) was", "Oslo"),
        ("She was born in St. Louis to Tom Bell.", "St. Louis"),
        ("Ann Bell (born July 23, 1976, Chisinau) is", "Chisinau"),
        ("Ann Bell (born July 23, 1976, in Voss, Norway) is", "Voss, Norway"),
        ("Born and raised in Oslo, Bell sang.", "Oslo"),
        ("She was born to Tom Bell and moved to Rome.", None),
        ("She was born the daughter of a smith in Oslo.", None),
        ("Born in Puerto Plata, Bell studied in La Romana.", "Puerto Plata"),
    ],
)
def test_places_of_birth(text, place):
    assert dict(read(text)).get("birth place") == place


@pytest.mark.parametrize(
    ("text", "nationality", "occupation"),
    [
        (CURIE.replace("Marie Curie", "Ann Bell"), "Polish and French", "physicist"),
        ("Ann Bell is a South Korean ice hockey player.", "South Korean", "ice hockey player"),
        ("Ann Bell was a Roman Catholic bishop.", None, "bishop"),
        ("Ann Bell is a retired Swedish sprinter.", "Swedish", "sprinter"),
        ("Ann Bell is a Sri Lankan cricketer.", "Sri Lankan", "cricketer"),
        ("Ann Bell is a British-born Italian athlete.", "Italian", "athlete"),
        ("Ann Bell is a Professor of Physics.", None, None),
        ("Ann Bell is a singer-songwriter from Oslo.", None, "singer-songwriter"),
        ("Tom Hill is a German actor.", None, None),
    ],
)
def test_nationality_and_occupation(text, nationality, occupation):
    found = dict(read(text))
    assert (found.get("nationality"), found.get("occupation")) == (nationality, occupation)


def test_a_name_with_a_note_in_brackets():
    assert dates("Ann Bell (born 1979) is", "Ann Bell (actor)") == {
        ("birth date", None, None, 1979)
    }


@pytest.mark.parametrize(
    ("own", "known", "agrees"),
    [
        ("She was born in 1867.", CURIE, True),
        ("She was born on 7 November 1867.", CURIE, True),
        ("She was born on 8 November 1867.", CURIE, False),
        ("She was born on 7 November 1867.", "She was born in 1867.", True),
        ("She was born in 1868.", CURIE, False),
        ("She was born in Warsaw, Poland.", CURIE, True),
        ("She was born in Rome.", CURIE, False),
        ("Marie Curie was a French chemist.", CURIE, True),
        ("Marie Curie was an English chemist.", "Marie Curie was a British chemist.", True),
    ],
)
def test_agreement(own, known, agrees):
    statement = read_life(own, "Marie Curie")[0]
    others = by_relation(read_life(known, "Marie Curie"))[statement.relation]
    assert any(statement.agrees(other) for other in others) is agrees


@pytest.mark.parametrize(
    ("name", "value", "relation"),
    [
        ("birth_place", "Oslo", "birth place"), ("dateOfBirth", "1900", "birth date"),
        ("born", "1 May 1900", "birth date"), ("born", "Oslo", "birth place"),
        ("place of death", "Rome", "death place"), ("died in year", "1950", "death date"),
        ("citizenship", "Norway", "nationality"), ("occupation", "smith", "occupation"),
        ("spouse", "Tom", None),
    ],
)  # fmt: skip
def test_relations_of_a_database(name, value, relation):
    assert life_relation(name, value) == relation


def verdicts(text, page=CURIE, known=None):
    truth = None if known is None else by_relation(known_life(known))
    page = by_relation(read_life(page, "Marie Curie"))
    return life_verdicts(answer("Marie Curie", (text, "slm")), "Marie Curie", page, truth)


def test_verdicts_against_the_page():
    found = {v.relation: v for v in verdicts(" was a Polish poet. She was born in Rome in 1867.")}
    assert found["birth date"].right and found["birth date"].year_right
    assert found["birth place"].right is False and found["birth place"].contradicted
    assert found["nationality"].right and not found["occupation"].right
    assert not found["occupation"].contradicted  # a person may have several
    counts = life_counts([tuple(found.values())])
    assert {k: v[0] for k, v in counts.items()} == {
        "texts": 1, "life_stated": 4, "life_known": 4, "life_right": 2, "life_wrong": 1,
        "life_dates": 1, "life_years_right": 1, "life_on_page": 4, "life_contradicted": 1,
    }  # fmt: skip
    assert ratio_scores(counts)["life_right"].value == 0.5


def test_two_statements_that_contradict_each_other_are_wrong():
    [found] = verdicts(" sang. She was born in 1867. She was born in 1901.")
    assert not found.right


def test_facts_of_a_database_come_before_the_page():
    [found] = verdicts(" sang. She was born in Opole.", known=[("birth_place", "Opole")])
    assert found.right and found.contradicted and found.known == ("Opole",)
    [found] = verdicts(" sang. She was born in 1866.", known=[("date of birth", "c. 1866")])
    assert found.right is None  # not exact


def test_what_the_prompt_gives_does_not_count():
    page = by_relation(read_life(CURIE, "Marie Curie"))
    text = answer(CURIE, (" She was born in 1901 in Rome.", "slm"))
    assert life_verdicts(text, "Marie Curie", page) == []


def test_no_statement_gives_no_scores():
    assert life_scores([(), ()]) == {} and life_scores([]) == {}


def test_articles_are_scored_and_people_without_facts_counted(tmp_path):
    loaded = scripted(lambda text: " (born 1901)."[len(text) - 8] if len(text) < 21 else "",
                      lambda text: False, context=200)  # fmt: skip
    articles = [
        Document("1", "Ann Bell (born 1901) is a smith.", {"title": "Ann Bell"}),
        Document("2", "Bob Hill (born 1950) is a smith.", {"title": "Bob Hill"}),
    ]
    path = write_facts(tmp_path / "f.sqlite", [Subject("Ann Bell", "person", {"born": "1902"})])
    extract = lambda texts: [[] for _ in texts]  # noqa: E731
    found = evaluate_articles(loaded, articles, extract, max_new_tokens=20)
    scores = {(r.metric, r.conditions.get("group")): r.value for r in found.results()}
    assert scores["life_right", None] == 0.5 and scores["life_right", "birth date"] == 0.5
    assert scores["life_wrong", None] == scores["life_contradicted", None] == 0.5
    with Database(path) as facts:
        found = evaluate_articles(loaded, articles, extract, people_facts=facts, max_new_tokens=20)
    scores = {(r.metric, r.conditions.get("group")): r.value for r in found.results()}
    assert scores["life_right", None] == 0.0 and scores["people_unknown", "articles"] == 1


def test_long_texts_take_little_time():
    for part in ("Ann Bell was born ", "(born ", "He died and ", "a. B ", "Ann ", "( 1900 – "):
        read_life(part * 30_000, "Ann Bell")
