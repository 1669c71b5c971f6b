"""The facts of all spellings of one subject are found."""

import asyncio

import pytest
import yaml

from helpers.stores import duck_with, sqlite_with
from lacy.sources import Database
from lacy.types import Request

ROWS = [
    ("Ada Lovelace", "born", "1815"), ("Ada  Lovelace", "job", "mathematician"),
    (" Ada Lovelace\t", "town", "London"), ("ADA LOVELACE", "died", "1852"),
    ("Zoe\u0308 Bell", "job", "poet"), ("Zoë Bell", "born", "1901"), ("Zoe Bell", "born", "1999"),
    ("Turkey", "kind", "country"), ("turkey", "kind", "bird"), ("C", "kind", "letter"),
    ("C#", "kind", "language"), ("Ada\u00a0Lovelace", "child", "Byron"), (" ", "kind", "blank"),
    ("Mo O''Brien-Vell", "born", "1815"), ("Mo O’Brien-Vell", "job", "poet"),
    ("Mo O''Brien‑Vell", "town", "Ulm"), ("C♯", "author", "Anders"),
]  # fmt: skip
ADA = {("born", "1815"), ("job", "mathematician"), ("town", "London"), ("died", "1852"),
       ("child", "Byron")}  # fmt: skip


def statements(table="fact", columns=("subject", "relation", "value")):
    listed = ", ".join(f"{column} TEXT" for column in columns)
    rows = ", ".join("(" + ", ".join(f"'{cell}'" for cell in row) + ")" for row in ROWS)
    return [f"CREATE TABLE {table} ({listed})", f"INSERT INTO {table} VALUES {rows}"]


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def place(request, tmp_path):
    """A function that fills a database of each kind."""
    if request.param == "sqlite":
        return lambda made: sqlite_with(tmp_path / "own.sqlite", made)
    if request.param == "duckdb":
        return lambda made: duck_with(tmp_path / "own.duckdb", made)
    return request.getfixturevalue("postgres").fill


def kinds(source, text, subject=None):
    [reply] = asyncio.run(source.ask([Request(text, subject=subject)]))
    return {(c.kind, c.text.strip()) for c in reply.candidates}


def check(source):
    for spelling in ("Ada Lovelace", "Ada  Lovelace", "ADA LOVELACE", "Ada\u00a0Lovelace"):
        assert set(source.facts(spelling)) == ADA
        assert kinds(source, f"{spelling} was") == ADA
        assert kinds(source, "She was", spelling) == ADA
    assert kinds(source, "ada lovelace was") == ADA
    assert set(source.facts("Zoë Bell")) == {("job", "poet"), ("born", "1901")}
    assert source.facts("Zoe Bell") == [("born", "1999")]  # another letter is another name
    assert source.facts("Turkey") == [("kind", "country")]
    assert source.facts("turkey") == [("kind", "bird")]
    assert set(source.facts("C#")) == {("kind", "language"), ("author", "Anders")}
    for spelling in (
        "Mo O'Brien-Vell",
        "Mo O’Brien‐Vell",
    ):  # apostrophes and hyphens of a typesetter
        found = {("born", "1815"), ("job", "poet"), ("town", "Ulm")}
        assert set(source.facts(spelling)) == kinds(source, f"{spelling} was") == found
    assert source.facts("c") == []


def test_a_table_of_facts(place):
    with Database(place(statements())) as source:
        check(source)
        assert list(source.names) == sorted(source.names)  # the same order in every database


def test_a_mapping(place, tmp_path):
    made = statements("claim", ("who", "kind", "said"))
    content = {
        "database": place(made),
        "subject": "claim.who",
        "facts": {"relation": "claim.kind", "value": "claim.said"},
    }
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    with Database.mapped(tmp_path / "m.yaml") as source:
        check(source)


def test_an_alias_leads_to_its_subject_without_a_key(place, tmp_path):
    made = [
        "CREATE TABLE person (name TEXT, pen_name TEXT, born TEXT)",
        "INSERT INTO person VALUES ('Ada Lovelace', 'A. A. L.', '1815'),"
        " ('Ada  Lovelace', 'Lady L.', '10 December 1815'), ('Jo Vell', 'Nemo', '1901'),"
        " ('Mo Vell', 'Nemo', '1902')",
    ]
    content = {"database": place(made), "subject": "person.name", "key": "person.name",
               "aliases": ["person.pen_name"], "relations": {"born": "person.born"}}  # fmt: skip
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    with Database.mapped(tmp_path / "m.yaml") as source:
        for name in ("Ada Lovelace", "A. A. L.", "Lady L."):
            assert kinds(source, f"{name} was born in") >= {("born", "1815")}
        [reply] = asyncio.run(source.ask([Request("Nemo was born in")]))
        assert not reply.candidates and "several entries are called 'Nemo'" in reply.error


def test_hundreds_of_spellings(tmp_path):
    rows = ", ".join(f"('Ada{' ' * n}Vell', 'k', 'v{n}')" for n in range(1, 251))
    made = ["CREATE TABLE fact (subject, relation, value)", f"INSERT INTO fact VALUES {rows}"]
    with Database(sqlite_with(tmp_path / "own.sqlite", made), max_rows=300) as source:
        assert len(source.facts("Ada Vell")) == 250
    with Database(sqlite_with(tmp_path / "two.sqlite", made), max_rows=20) as source:
        [reply] = asyncio.run(source.ask([Request("Ada Vell was")]))
        assert len(reply.candidates) == 20 and "first 20 of more" in reply.candidates[0].evidence
