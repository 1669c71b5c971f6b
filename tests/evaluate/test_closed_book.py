"""Closed-book probes: where texts are cut, and what counts as told."""

from __future__ import annotations

import json

import pytest

from lacy.evaluate.closed_book import (
    begins_with_value,
    closed_book_recall,
    contains_value,
    make_probes,
    most_frequent,
)
from lacy.results import as_data
from lacy.types import Document, Mark


def document(text, *values, name="Ann"):
    marks = tuple(
        Mark(text.index(v), text.index(v) + len(v), "VALUE", relation) for v, relation in values
    )
    return Document(name, text, {"person": name}, marks)


def cut(*documents, per_fact=1):
    return make_probes(documents, lambda d: d.meta["person"], per_fact=per_fact)


def test_a_probe_ends_right_before_its_value():
    [probe] = cut(document("Ann was born on 3 May 1901.", ("3 May 1901", "born")))
    assert (probe.prompt, probe.value) == ("Ann was born on", "3 May 1901")
    assert (probe.relation, probe.subject) == ("born", "Ann")


def test_values_already_in_the_text_are_no_probes():
    text = "Ann of Oslo lives in Oslo."
    marks = (Mark(7, 11, "VALUE", "town"), Mark(21, 25, "VALUE", "home"))
    found = make_probes([Document("1", text, {"person": "Ann"}, marks)], lambda d: d.meta["person"])
    assert [p.relation for p in found] == ["town"]


def test_marks_without_relation_or_text_before_are_no_probes():
    text = "Oslo is where Ann, 30, lives."
    marks = (Mark(0, 4, "VALUE", "town"), Mark(19, 21, "NUMBER", None))
    assert make_probes([Document("1", text, {"person": "Ann"}, marks)], lambda d: "Ann") == []


def test_one_probe_per_fact_and_person():
    texts = [
        document("Ann from Oslo.", ("Oslo", "town")),
        document("It is Oslo.", ("Oslo", "town")),
    ]
    assert len(cut(*texts)) == 1
    assert len(cut(*texts, per_fact=2)) == 2


@pytest.mark.parametrize(
    ("text", "value", "at_start", "anywhere"),
    [
        (" 3 May 1901, in", "3 May 1901", True, True),
        (" 3  may\n1901.", "3 May 1901", True, True),
        (" 3 May 19012", "3 May 1901", False, False),
        (" 13 May 1901", "3 May 1901", False, False),
        (" in Oslo", "Oslo", False, True),
        (" Oslofjord", "Oslo", False, False),
        (" Oslofjord or Oslo", "Oslo", False, True),
        ("", "Oslo", False, False),
        (" Oslo", "", False, False),
    ],
)
def test_whole_values_only(text, value, at_start, anywhere):
    assert begins_with_value(text, value) is at_start
    assert contains_value(text, value) is anywhere


def test_closed_book_recall_by_hand():
    asked = cut(
        document("Ann from Oslo born 1901.", ("Oslo", "town"), ("1901", "born")),
        document("Bob from Rome born 1902.", ("Rome", "town"), ("1902", "born"), name="Bob"),
    )
    answers = {"Ann from": " Oslo", "Ann from Oslo born": " in 1901", "Bob from": " Oslo"}
    found = closed_book_recall(
        asked,
        lambda prompts: [answers.get(p, "") for p in prompts],
        {"town": "Oslo", "born": "1900"},
    )
    assert found.start.value == pytest.approx(1 / 4)
    assert found.anywhere.value == pytest.approx(2 / 4)
    assert found.chance.value == pytest.approx(1 / 4)
    assert found.by_relation["town"].value == pytest.approx(1 / 2)
    assert (found.probes, found.start.n) == (4, 2)
    json.dumps(as_data(found), allow_nan=False)


def test_no_probes():
    found = closed_book_recall([], lambda prompts: [], {})
    assert (found.probes, found.start.n) == (0, 0)


def test_a_missing_continuation_is_refused():
    asked = cut(document("Ann from Oslo.", ("Oslo", "town")))
    with pytest.raises(ValueError, match="0 continuations"):
        closed_book_recall(asked, lambda prompts: [], {})


def test_most_frequent_values():
    truths = [{"town": "Oslo"}, {"town": "Rome"}, {"town": "Rome", "pet": "b"}, {"pet": "a"}]
    assert most_frequent(truths) == {"town": "Rome", "pet": "a"}
