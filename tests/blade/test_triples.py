"""Triples: files, what is right, and making them by rules or by the black box."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.black_box import black_box_server
from lacy.blade import (
    Triple,
    consistent,
    is_right,
    open_black_box,
    read_triples,
    table_triples,
    text_triples,
    write_triples,
    written_triples,
)
from lacy.errors import LacyError
from lacy.types import Document, Mark

ROWS = [
    Document("1", "Lithium", {"symbol": "Li", "atomic_number": 3, "id": "x"}),
    Document("2", "Carbon", {"symbol": "C", "atomic_number": 6}),
    Document("3", "Neon", {"symbol": "Ne", "atomic_number": ""}),
]
WORDS = st.text("abc dé,.|'\"", min_size=1, max_size=12).map(str.strip).filter(bool)


@settings(max_examples=15)
@given(st.lists(st.tuples(WORDS, WORDS, st.text(max_size=9).map(str.strip)), min_size=1))
def test_what_is_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("triples") / "t.jsonl"
    triples = [
        Triple(q, a, "".join(k.split()).encode("ascii", "ignore").decode(), (a, a + "x"), (q,))
        for q, a, k in rows
    ]
    assert write_triples(path, triples) == len(triples)
    found = read_triples(path)
    names = ("question", "answer", "knowledge", "options", "aliases")
    for one, other in zip(triples, found, strict=True):
        assert [getattr(one, n) for n in names] == [getattr(other, n) for n in names]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"question": "Why?"}, "no answer"),
        ({"question": "Why?", "answer": " "}, "no answer"),
        ({"question": "Why?", "answer": "A", "options": ["B", "C"]}, "none of its options"),
        ({"question": "Why?", "answer": "A", "options": ["A", "A"]}, "must be different"),
        ({"question": "Why?", "answer": "A"}, "no knowledge"),
    ],
)
def test_a_question_that_cannot_be_used(tmp_path, line, why):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(LacyError, match=f"E390.*{why}"):
        read_triples(path, knowledge=True)


def test_options_of_a_table_stand_between_bars(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("question,answer,options\nWhy?,so,so|not so\n")
    [one] = read_triples(path)
    assert (one.options, one.letter) == (("so", "not so"), "A")


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("Paris", True), ("It is PARIS.", True), ("paris, france", True), ("Parisian", False),
        ("London\nParis", False), ("", False), ("Ville de Lumière", True),
    ],
)  # fmt: skip
def test_an_open_question_is_right_if_its_first_line_has_the_words(reply, right):
    assert is_right(Triple("Where?", "Paris", aliases=("ville de lumiere",)), reply) is right


@pytest.mark.parametrize(
    ("reply", "right"),
    [
        ("B", True), ("B. Rome", True), ("(B)", True), ("Rome", True), ("It is Rome.", True),
        ("A", False), ("Rome or Bern", False), ("Both", False), ("", False), ("Bern", False),
    ],
)  # fmt: skip
def test_of_options_one_must_be_chosen(reply, right):
    assert is_right(Triple("Where?", "Rome", options=("Bern", "Rome")), reply) is right


def test_a_table_gives_a_triple_per_cell():
    found = table_triples(ROWS)
    assert len(found) == 5
    assert found[0].question == "What is the symbol of Lithium?"
    assert found[1].knowledge == "The atomic number of Lithium is 3."
    assert (found[1].answer, found[1].subject, found[1].source) == ("3", "Lithium", "table")


def test_own_templates_and_options():
    own = {"symbol": ("{name}?", "{name}: {value}")}
    found = table_triples(ROWS, templates=own, options=3)
    assert [one.knowledge for one in found] == ["Lithium: Li", "Carbon: C", "Neon: Ne"]
    for one in found:
        assert sorted(one.options) == ["C", "Li", "Ne"]
        assert one.options[ord(one.letter) - 65] == one.answer
    assert found == table_triples(ROWS, templates=own, options=3)
    with pytest.raises(LacyError, match=r"E391.*fewer than 4 options"):
        table_triples(ROWS, templates=own, options=4)
    for wrong in ("{thing}?", "{", "{}"):
        with pytest.raises(LacyError, match=r"E12.*other fields"):
            table_triples(ROWS, templates={"symbol": (wrong, "{value}")})
    with pytest.raises(LacyError, match=r"E391.*no columns"):
        table_triples([Document("1", "Lithium")])
    with pytest.raises(LacyError, match=r"'symbl'.*no such column\n  Do: .*symbol"):
        table_triples(ROWS, templates={"symbl": ("{name}?", "{value}")})
    for options in (-2, 1, 11):  # there are ten letters
        with pytest.raises(LacyError, match=r"E12.*options"):
            table_triples(ROWS, options=options)


def test_a_text_gives_a_triple_per_value_that_stands_alone():
    text = "Ada Byron was born in London. She met Babbage in 1833. Ada saw 1833 and 1833."
    places = [("Ada Byron", 0), ("London", 0), ("1833", 0)]
    marks = tuple(
        sorted(Mark(text.index(w, s), text.index(w, s) + len(w), "ENTITY") for w, s in places)
    )
    found = text_triples([Document("a", text, {"title": "Ada Byron"}, marks)])
    assert [one.answer for one in found] == ["London", "1833"]
    assert found[0].question == "Which words are missing? Ada Byron was born in ____."
    assert found[1].question == "Which words are missing about Ada Byron? She met Babbage in ____."
    assert found[1].knowledge == "Ada Byron: She met Babbage in 1833."
    for none in ([], [Document("a", "No marks.", {})]):
        with pytest.raises(LacyError, match="E391"):
            text_triples(none)


def test_the_black_box_writes_triples_and_what_it_cannot_use_is_counted():
    def reply(text):
        if "Kiel" in text:
            return "Question: Where?\nKnowledge: It is in Kiel.\nAnswer: Kiel"
        return "I cannot help."

    with black_box_server(reply) as server, open_black_box(f"{server.url}#x") as box:
        found, unusable = written_triples([Document("a", "Kiel."), Document("b", "Ulm.")], box)
        assert [(one.question, one.answer) for one in found] == [("Where?", "Kiel")]
        assert (found[0].source, unusable) == (box.name, 1)
        with pytest.raises(LacyError, match=r"E391.*1 texts gave no"):
            written_triples([Document("b", "Ulm.")], box)


def test_only_triples_are_kept_that_the_black_box_understands(read_prompt):
    def reply(text):
        question, knowledge = read_prompt(text)
        if "broken" in question:
            return 400, "filtered"
        return knowledge[0].split()[-1] if knowledge else "Li"

    triples = [
        Triple("Symbol of lithium?", "Li", "It is Li"),
        Triple("Symbol of carbon?", "C", "It is C"),
        Triple("Symbol of neon?", "Ne", "Neon is a gas"),
        Triple("broken?", "x", "x"),
    ]
    with black_box_server(reply) as server, open_black_box(f"{server.url}#x") as box:
        found = consistent(triples, box, without=True)
        assert [one.answer for one in found.kept] == ["Li", "C"]
        assert (found.wrong, found.unanswered, found.without) == (1, 1, 1)
        with pytest.raises(LacyError, match="E391"):
            consistent(triples[2:3], box)
