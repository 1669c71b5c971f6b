"""Entity precision: what counts as the same name, number or date."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.worlds import answer
from lacy._text import normalized_words
from lacy.evaluate import article_counts
from lacy.evaluate.article_counts import birth_date
from lacy.evaluate.entities import (
    ArticleText,
    default_extract,
    entity_counts,
    find_dates,
    find_numbers,
)
from lacy.results import as_data, ratio_scores
from lacy.types import Mark

ARTICLE = (
    "José Ortega-Marín's band, founded on 12 March 1879 in São Paulo, sold 1,234 records. "
    "He had three sons. In June 1885 it split; profits rose 2.5 percent by 1890-07-04."
)


@pytest.mark.parametrize(
    ("entity", "held"),
    [
        ("Jose Ortega Marin", True),
        ("ORTEGA-MARÍN", True),
        ("Sao Paulo", True),
        ("Ortega", True),
        ("Orteg", False),
        ("Paulo Ortega", False),
        ("José Marín", False),
        ("1234", True),
        ("12", False),
        ("12 sons", False),
        ("1,234.0", True),
        ("234", False),
        ("3", True),
        ("three", True),
        ("four", False),
        ("2.5", True),
        ("March 12, 1879", True),
        ("12th of March, 1879", True),
        ("March 1879", True),
        ("1879-03-12", True),
        ("12 March", True),
        ("1879", True),
        ("13 March 1879", False),
        ("12 March 1885", False),
        ("June 1879", False),
        ("4 July 1890", True),
        ("1880", False),
        ("from March 1879 to 1890", True),
        ("from March 1879 to 1891", False),
        ("Class of 1879", False),
    ],
)
def test_different_spellings_of_one_entity(entity, held):
    assert ArticleText(ARTICLE).contains(entity) is held


def test_normal_forms():
    assert normalized_words("The O’Neills' café") == ["the", "o", "neills", "cafe"]
    assert find_numbers("1,234 and 5.60, −7") == {1234.0, 5.6, -7.0}
    assert find_dates("12 March 1879 and May 2, 1900 and 1910") == {
        (12, 3, 1879), (2, 5, 1900), (None, None, 1910),
    }  # fmt: skip
    assert find_dates("In May we may go") == set()


def extract(texts):
    """Capitalised words and numbers, as a stand-in for an annotator."""
    return [
        [Mark(m.start(), m.end(), "ENTITY") for m in re.finditer(r"[A-Z]\w+(?: [A-Z]\w+)*|\d+", t)]
        for t in texts
    ]


def test_precision_by_hand():
    texts = [
        answer(
            "Ann Bell", (" lived in ", "slm"), ("Oslo", "article"), (" and Rome since 1901.", "slm")
        ),
        answer("Bob", (" knew ", "slm"), ("Zoe", "article"), (" Zoe.", "slm")),
    ]
    # own: Rome (no), 1901 (yes); borrowed: Oslo (yes), Zoe (no, told twice, counted once)
    found = entity_counts(texts, ["Ann Bell, Oslo, 1901", "Bob"], extract)
    assert found.tolist() == [[2, 1, 1, 1], [0, 0, 1, 0]]
    scores = ratio_scores(article_counts(texts, ["Ann Bell, Oslo, 1901", "Bob"], extract))
    assert scores["entities_right"].value == pytest.approx(2 / 4)
    assert scores["own_entities_right"].value == pytest.approx(1 / 2)
    assert scores["borrowed_entities_right"].value == pytest.approx(1 / 2)
    assert scores["entities_per_text"].value == pytest.approx(2.0)
    assert scores["right_per_text"].value == pytest.approx(1.0)
    assert scores["entities_right"].n == 2
    json.dumps(as_data(scores), allow_nan=False)


def test_entities_of_the_prompt_do_not_count():
    text = answer("Ann Bell", (" is Ann Bell.", "slm"))
    assert not entity_counts([text], ["Ann Bell"], extract).any()


def test_repetitions_do_not_count():
    text = answer("Ann", *[(" in Oslo", "slm")] * 20)
    assert entity_counts([text], ["Oslo"], extract).tolist() == [[1, 1, 0, 0]]


def test_texts_without_entities():
    found = article_counts([answer("Ann", (" sings", "slm"))] * 2, ["", ""], extract)
    scores = ratio_scores(found)
    assert as_data(scores["entities_right"])["value"] is None
    assert scores["entities_per_text"].value == 0.0


def test_recall_counts_values_of_an_equally_long_stretch():
    text = answer("Ann", (" lived in Oslo and Rome in 1900.", "slm"))
    article = "Ann moved to Oslo, Bonn or Lima, and later on to Rome."
    found = article_counts([text], [article], extract)
    assert (found["values"].item(), found["values_stated"].item()) == (3, 1)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Ann Bell (12 March 1879 – 4 May 1950) was", (12, 3, 1879)),
        ("Ann Bell (born 1901) was", (None, None, 1901)),
        ("Ann Bell (1900 or 1901) was", None),
        ("Ann Bell was born in 1901.", None),
        ("x" * 130 + "(born 1901)", None),
    ],
)
def test_the_date_of_birth_stands_in_the_bracket_after_the_name(text, date):
    assert birth_date(text) == date


def test_birth_dates_agree_in_the_parts_that_are_stated():
    reference = "Ann Bell (12 March 1879 – 4 May 1950)"
    dates = ("1879", "12 March 1880", "March 1879")
    texts = [answer("Ann Bell", (f" ({date})", "slm")) for date in dates]
    texts += [answer("Ann Bell", (" sings", "slm")), answer("Ann Bell (1879)")]
    found = article_counts(texts, [reference] * 5, extract)
    assert found["births"].tolist() == [1, 1, 1, 0, 0]  # the last prompt gives the date
    assert found["births_right"].tolist() == [1, 0, 1, 0, 0]


def test_the_projects_own_rules_find_numbers_and_dates():
    """With a pipeline that knows no names: shapes of numbers and dates alone."""
    spacy = pytest.importorskip("spacy")
    found = default_extract(spacy.blank("en"))(["She won 7 prizes by 3 May 1901, all 7 in Oslo."])
    said = {"She won 7 prizes by 3 May 1901, all 7 in Oslo."[m.start : m.end] for m in found[0]}
    assert said == {"7", "3 May 1901"}


def test_no_texts():
    json.dumps(as_data(ratio_scores(article_counts([], [], extract))), allow_nan=False)


def test_references_must_match():
    with pytest.raises(ValueError, match="references"):
        entity_counts([answer("Ann")], [], extract)


@given(st.text(max_size=60), st.integers(0, 59), st.integers(1, 20))
@settings(max_examples=150, deadline=None)
def test_a_text_contains_its_own_words(text, start, count):
    pieces = normalized_words(text)[start : start + count]
    name = " ".join(pieces)
    if pieces and not find_numbers(name) and not find_dates(name):
        assert ArticleText(text).contains(name)


@given(st.text(max_size=80))
@settings(max_examples=150, deadline=None)
def test_any_text_can_be_read(text):
    ArticleText(text).contains(text)
