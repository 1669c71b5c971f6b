"""The database source on real SQLite files: linking, candidates, alternatives, bad files."""

import asyncio
import math
import sqlite3
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacy.errors import LacyError
from lacy.sources import Database, Source
from lacy.sources.db.stores import StoreError
from lacy.sources.names import EntityLinker, NameIndex
from lacy.types import Request

FACTS = [
    ("Mara Vell", "birth date", "12 March 1879"),
    ("Mara Vell", "birth place", "Ulm"),
    ("Mara Vell", "country", "Norway"),
    ("Mara Vellin", "birth date", "3 May 1901"),
    ("Mara Vellin", "birth place", "São Paulo"),
    ("Mara Vellin", "country", "Norway"),
    ("Tomas Brill", "birth place", "Ulm"),
    ("Tomas Brill", "country", "Chile"),
    ("O'Brien-Smith, J. R.", "country", "Chile"),
    ("Robert'); DROP TABLE fact;--", "country", "Chile"),
]


def make(path, facts=FACTS, columns=("subject", "relation", "value"), table="fact"):
    with sqlite3.connect(path) as db:
        db.execute(f'CREATE TABLE "{table}" ({", ".join(f"{c!r}" for c in columns)})')
        marks = ", ".join("?" * len(columns))
        db.executemany(f'INSERT INTO "{table}" VALUES ({marks})', facts)
    db.close()
    return path


@pytest.fixture
def database(tmp_path):
    with Database(make(tmp_path / "people.sqlite")) as database:
        yield database


def ask(source, text, subject=None):
    return asyncio.run(source.ask([Request(text, subject=subject)]))[0]


def texts(reply):
    return [candidate.text for candidate in reply.candidates]


def test_all_values_of_the_subject_are_candidates_with_evidence(database):
    assert isinstance(database, Source)
    reply = ask(database, "Mara Vell was born on")
    assert texts(reply) == [" 12 March 1879", " Ulm", " Norway"]
    assert reply.ranked and reply.error is None and reply.seconds > 0
    first = reply.candidates[0]
    assert first.evidence == "Mara Vell · birth date · 12 March 1879 (people.sqlite)"
    assert first.kind == "birth date"


def test_batches_keep_their_order_and_explicit_subjects_win(database):
    requests = [
        Request("Mara Vell lived in"),
        Request("Mara Vell lived in", subject="Tomas Brill"),
        Request("Nobody lived in"),
    ]
    replies = asyncio.run(database.ask(requests))
    assert [texts(reply) for reply in replies] == [
        [" 12 March 1879", " Ulm", " Norway"],
        [" Ulm", " Chile"],
        [],
    ]


def test_alternatives_are_two_to_the_entropy(database):
    assert database.alternatives["birth date"] == pytest.approx(2.0)
    # two of three in Ulm
    entropy = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert database.alternatives["birth place"] == pytest.approx(2**entropy)
    assert {c.alternatives for c in ask(database, "Tomas Brill").candidates} == {
        database.alternatives["birth place"],
        database.alternatives["country"],
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Mara Vell was born", "Mara Vell"),
        ("Mara Vellin was born", "Mara Vellin"),
        ("Mara Vellington was born", None),
        ("Mara Vell married Mara Vellin in", "Mara Vell"),
        ("Mara Vellin married Mara Vell in", "Mara Vellin"),
        ("Mara Vell died.\n\nMara Vellin met Mara Vell in", "Mara Vellin"),
        ("Mara Vell died.\n\nLater in", "Mara Vell"),
        ("Mara Vell's house", "Mara Vell"),
        ("Mara Vell’s house", "Mara Vell"),
        ("the house of Mara Vell.", "Mara Vell"),
        ("(Mara Vell)", "Mara Vell"),
        ("Mara\nVell was", "Mara Vell"),
        ("Mara. Vell was", None),
        ("amara Vell", None),
        ("mara vell", "Mara Vell"),
        ("by O'Brien-Smith, J. R. in", "O'Brien-Smith, J. R."),
        ("", None),
    ],
)
def test_names_are_linked_as_whole_words(database, text, name):
    link, _ = EntityLinker(database.names).find(text)
    assert (link.name if link else None) == name


def test_unknown_names_are_reported(database):
    reply = ask(database, "Nobody was born in")
    assert not reply.candidates and "no name" in reply.error
    reply = ask(database, "x", subject="Ada Void")
    assert not reply.candidates and "'Ada Void'" in reply.error
    assert "people.sqlite" in reply.error


def test_a_value_just_given_is_not_offered_again(database):
    assert texts(ask(database, "Mara Vell was born in Ulm")) == [" 12 March 1879", " Norway"]
    assert " March 1879" in texts(ask(database, "Mara Vell was born on 12"))


def test_parameters_are_bound_and_the_file_is_read_only(database):
    name = "Robert'); DROP TABLE fact;--"
    assert texts(ask(database, "x", subject=name)) == [" Chile"]
    with pytest.raises(StoreError, match="readonly"):
        database.store.rows("DELETE FROM fact")


def test_odd_values(tmp_path):
    facts = [
        ("A", "year", 1879), ("A", "height", 1.5), ("A", "none", None), ("A", "empty", " "),
        ("A", None, "x"), ("A", "year", 1879), ("A", "raw", b"\xffbytes"), (None, "r", "v"),
        ("A", "long", "word " * 500),
    ]  # fmt: skip
    with Database(make(tmp_path / "odd.db", facts)) as database:
        found = texts(ask(database, "A was"))
    assert found == [" 1879", " 1.5", " x"]


def test_other_columns_and_odd_identifiers(tmp_path):
    columns = ("who", 'the "kind"', "what")
    path = make(tmp_path / "a b?.db", [("A", "k", "v")], ("who", "kind", "what"), "the facts")
    database = Database(path, table="the facts", subject="who", relation="kind", value="what")
    assert texts(ask(database, "A is")) == [" v"]
    database.close()
    assert ask(database, "A is").error is None  # remembered
    assert "closed" in ask(database, "x", subject="B").error
    with pytest.raises(LacyError, match="E68"):
        Database(path, table="the facts", subject="who", relation=columns[1], value="what")


def test_reaching_max_rows_is_noted(tmp_path):
    facts = [("A", "award", f"prize {n}") for n in range(10)]
    with Database(make(tmp_path / "many.db", facts), max_rows=3) as database:
        reply = ask(database, "A won")
    assert len(reply.candidates) == 3
    assert "first 3 of more" in reply.candidates[0].evidence


def test_unusable_files_are_clear_errors(tmp_path):
    with pytest.raises(LacyError, match="E65"):
        Database(tmp_path / "absent.db")
    with pytest.raises(LacyError, match="E65"):
        Database(tmp_path)
    text = tmp_path / "text.db"
    text.write_text("not a database " * 100)
    with pytest.raises(LacyError, match="E66"):
        Database(text)
    whole = make(tmp_path / "whole.db", FACTS * 200).read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LacyError, match="E66"):
        Database(tmp_path / "cut.db")
    path = make(tmp_path / "ok.db")
    with pytest.raises(LacyError, match="it has: fact"):
        Database(path, table="facts")
    with pytest.raises(LacyError, match="it has: subject, relation, value"):
        Database(path, value="object")
    empty = tmp_path / "empty.db"
    sqlite3.connect(empty).close()
    empty.touch()
    with pytest.raises(LacyError, match="it has: none"):
        Database(empty)


def test_an_empty_table_has_no_subjects(tmp_path):
    with Database(make(tmp_path / "none.db", [])) as database:
        assert "no name" in ask(database, "Mara Vell").error


def test_slow_queries_are_interrupted(tmp_path):
    path = make(tmp_path / "slow.db", [("A", "r", "v")])
    with sqlite3.connect(path) as db:
        # A view whose look-up counts for minutes for one subject only.
        db.execute(
            "CREATE VIEW slow AS SELECT subject, relation, value FROM fact UNION ALL SELECT 'B',"
            " 'r', 'v' WHERE 0 < (WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c"
            " LIMIT CASE WHEN (SELECT COUNT(*) FROM gate) THEN 1 ELSE 1000000000 END)"
            " SELECT COUNT(*) FROM c)"
        )
        db.execute("CREATE TABLE gate (open)")
        db.execute("INSERT INTO gate VALUES (1)")
    database = Database(path, table="slow", timeout=0.1)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM gate")
    begin = time.perf_counter()
    reply = ask(database, "x", subject="B")
    assert "no answer within 0.1 s" in reply.error
    assert time.perf_counter() - begin < 5
    database.close()
    db.close()


word = st.text("abB", min_size=1, max_size=2).filter(lambda word: word.lower() != "a")
names = st.lists(word, min_size=1, max_size=3).map(" ".join)


@given(st.lists(names, max_size=6), names, st.lists(word, max_size=4))
def test_linking_equals_a_brute_force_search(known, mentioned, rest):
    text = f"{mentioned} {' '.join(rest)}".strip()
    words = text.split()
    # Slow: leftmost longest mentions of whole names; the first one counts. Where the first is a
    # part of a longer name, as a word with a capital stands beside it, there is none.
    found, place = None, 0
    while place < len(words) and found is None:
        here = [
            (place, place + count)
            for count in range(len(words) - place, 0, -1)
            if " ".join(words[place : place + count]) in known
        ]
        whole = [(a, b) for a, b in here if not _capital(words[:a][-1:] + words[b:][:1])]
        if here and not whole:
            break
        for a, b in whole[:1]:
            found = " ".join(words[a:b])
        place += 1
    assert NameIndex(known).find(text) == found


def _capital(words):
    return any(word != word.lower() for word in words)


def test_names_in_scripts_without_spaces_and_other_unicode_forms():
    index = NameIndex(["山田太郎", "山田", "Łukasz Zoe\u0308"])
    assert index.find("山田太郎は東京で生まれた") == "山田太郎"
    assert index.find("山田は東京で生まれた") == "山田"
    assert index.find("Łukasz Zoë was born") == "Łukasz Zoe\u0308"


def test_a_text_is_linked_to_the_first_name_of_its_last_paragraph(tmp_path):
    path = tmp_path / "f.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)")
        rows = [("Mara Vell", "born", "1900"), ("Tomas Brill", "born", "1901")]
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    with Database(path) as database:
        assert database.link("Mara Vell met Tomas Brill.") == "Mara Vell"
        assert database.link("Mara Vell met him.\n\nTomas Brill and Mara Vell") == "Tomas Brill"
        assert database.link("Nobody is named.") is None
