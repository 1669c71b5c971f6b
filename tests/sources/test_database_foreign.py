"""Databases of other programs: unreadable parts are named, the rest works, nothing hangs."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from helpers.stores import duck_with, sqlite_with
from lacy.cli import main
from lacy.errors import LacyError
from lacy.sources import Database
from lacy.sources.db import draft_mapping
from lacy.sources.db.stores import StoreError, open_store
from lacy.types import Request

GOOD = [
    "CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)",
    "INSERT INTO fact VALUES ('Ada Vell', 'town', 'Kelfield')",
    "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, town TEXT)",
    "INSERT INTO person VALUES (1, 'Ada Vell', 'Kelfield')",
]
BROKEN = [
    "CREATE TABLE gone (a TEXT)",
    'CREATE VIEW "bro\nken: x" AS SELECT a AS name, a AS town FROM gone',
    "DROP TABLE gone",
]


def ask(source, text):
    return asyncio.run(source.ask([Request(text)]))[0]


def words(source, text):
    return [candidate.text.strip() for candidate in ask(source, text).candidates]


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def place(request, tmp_path):
    if request.param == "sqlite":
        return sqlite_with(tmp_path / "own.sqlite", GOOD + BROKEN)
    if request.param == "duckdb":
        return duck_with(tmp_path / "own.duckdb", GOOD + BROKEN)
    server = request.getfixturevalue("postgres")
    return server.fill(
        [*GOOD, 'CREATE MATERIALIZED VIEW "bro\nken: x" AS SELECT name, town FROM person'
         " WITH NO DATA"]
    )  # fmt: skip


def test_one_broken_view_is_named_and_the_rest_works(place, tmp_path, capsys):
    with Database(place) as source:
        assert words(source, "Ada Vell lives in") == ["Kelfield"]
    path = tmp_path / "made.yaml"
    assert main(["source", "map", place, "--out", str(path)]) == 0
    said = capsys.readouterr()
    assert "# left out: bro ken: x: " in path.read_text()
    assert "left out: bro ken: x: " in said.err
    with Database.mapped(path) as source:
        assert words(source, "Ada Vell lives in")
    with pytest.raises(LacyError, match=r"E74.*cannot read|E66|E94"):
        Database(place, table="bro\nken: x", subject="name", relation="town", value="town")


def test_a_mapping_to_an_unreadable_table_says_why(tmp_path):
    place = sqlite_with(tmp_path / "own.sqlite", GOOD + BROKEN)
    content = {"database": place, "subject": "bro\nken: x.name", "relations": {"a": "person.town"}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(LacyError, match=r"E95(.|\n)*cannot be read: no such table"):
        Database.mapped(tmp_path / "m.yaml")


def test_generated_and_hidden_columns_of_sqlite(tmp_path):
    place = sqlite_with(
        tmp_path / "own.sqlite",
        ["CREATE TABLE fact (doc TEXT, subject TEXT AS (json_extract(doc, '$.s')) VIRTUAL,"
         " relation TEXT AS (json_extract(doc, '$.r')) STORED,"
         " value AS (json_extract(doc, '$.v')))",
         """INSERT INTO fact (doc) VALUES ('{"s": "Ada Vell", "r": "town", "v": "Kelfield"}')""",
         "CREATE VIRTUAL TABLE words USING fts5 (name, town)",
         "INSERT INTO words VALUES ('Jo Orr', 'Roston')"],
    )  # fmt: skip
    with Database(place) as source:
        assert words(source, "Ada Vell lives in") == ["Kelfield"]
    store = open_store(place)
    assert list(store.catalogue().tables["words"]) == ["name", "town"]
    store.close()
    content = {"database": place, "subject": "words.name", "relations": {"town": "words.town"}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    with Database.mapped(tmp_path / "m.yaml") as source:
        assert words(source, "Jo Orr lives in") == ["Roston"]


def test_a_generated_column_with_an_unknown_function_is_left_out(tmp_path):
    with closing(sqlite3.connect(tmp_path / "own.sqlite")) as db, db:
        db.create_function("theirs", 1, str, deterministic=True)
        db.execute("CREATE TABLE person (name TEXT, town TEXT, nick TEXT AS (theirs(name)))")
        db.execute("INSERT INTO person VALUES ('Ada Vell', 'Kelfield')")
    path = tmp_path / "made.yaml"
    path.write_text(draft_mapping(tmp_path / "own.sqlite", path))
    assert "# left out: person.nick: unknown function: theirs()" in path.read_text()
    with Database.mapped(path) as source:
        assert words(source, "Ada Vell lives in") == ["Kelfield"]
    path.write_text("database: own.sqlite\nsubject: person.name\nrelations: {nick: person.nick}\n")
    with pytest.raises(LacyError, match=r"E95(.|\n)*person.nick cannot be read: unknown function"):
        Database.mapped(path)
    with pytest.raises(LacyError, match=r"E74.*person.nick"):
        Database(tmp_path / "own.sqlite", table="person", subject="nick")


def collated(path):
    """A table of facts whose columns have a collation that takes Turkey for turkey."""
    rows = [("Turkey", "kind", "country"), ("turkey", "kind", "bird"), ("Ada Vell", "kind", "x"),
            ("ADA VELL", "kind", "X")]  # fmt: skip
    listed = ", ".join(f"('{s}', '{r}', '{v}')" for s, r, v in rows)
    columns = ", ".join(
        f"{column} TEXT COLLATE NOCASE" for column in ("subject", "relation", "value")
    )
    made = [f"CREATE TABLE fact ({columns})", f"INSERT INTO fact VALUES {listed}"]
    return (duck_with if path.suffix == ".duckdb" else sqlite_with)(path, made)


@pytest.mark.parametrize("name", ["own.sqlite", "own.duckdb"])
def test_a_collation_does_not_merge_names(name, tmp_path):
    with Database(collated(tmp_path / name)) as source:
        assert source.facts("Turkey") == [("kind", "country")]
        assert source.facts("turkey") == [("kind", "bird")]
        assert set(source.facts("Ada Vell")) == {("kind", "x"), ("kind", "X")}
        assert source.alternatives == {"kind": pytest.approx(4.0)}


@pytest.mark.parametrize("key", ["", " PRIMARY KEY"])
def test_a_collation_of_another_program(key, tmp_path):
    with closing(sqlite3.connect(tmp_path / "own.sqlite")) as db, db:
        db.create_collation("THEIRS", lambda a, b: (a > b) - (a < b))
        db.execute(f"CREATE TABLE person (name TEXT COLLATE THEIRS{key}, town TEXT COLLATE THEIRS)")
        db.execute("INSERT INTO person VALUES ('Ada Vell', 'Kelfield')")
    path = tmp_path / "made.yaml"
    path.write_text("database: own.sqlite\nsubject: person.name\nrelations: {town: person.town}\n")
    with Database.mapped(path) as source:
        assert words(source, "Ada Vell lives in") == ["Kelfield"]


def test_a_virtual_table_without_its_module_is_left_out(tmp_path):
    place = sqlite_with(tmp_path / "own.sqlite", GOOD)
    with closing(sqlite3.connect(place)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "INSERT INTO sqlite_master VALUES ('table', 'map', 'map', 0,"
            " 'CREATE VIRTUAL TABLE map USING no_such_module(a)')"
        )
        db.commit()
    with Database(place) as source:
        assert words(source, "Ada Vell lives in") == ["Kelfield"]
    assert "left out: map: no such module" in draft_mapping(place, tmp_path / "m.yaml")


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE later (a TEXT,, b)", "CREATE VIEW later AS SELECT FROM", "x"]
)
def test_an_entry_that_this_sqlite_does_not_understand_is_left_out(sql, tmp_path):
    place = sqlite_with(tmp_path / "own.sqlite", GOOD)
    with closing(sqlite3.connect(place)) as db:
        kind = "view" if "VIEW" in sql else "table"
        db.execute("PRAGMA writable_schema = ON")
        values = (kind, "later", "later", 0 if kind == "view" else 2, sql)
        db.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", values)
        db.commit()
    with Database(place) as source:
        assert words(source, "Ada Vell lives in") == ["Kelfield"]
        with pytest.raises(StoreError, match="readonly"):
            source.store.rows("DELETE FROM fact")
    assert "left out: later: " in draft_mapping(place, tmp_path / "m.yaml")
    with pytest.raises(LacyError, match="E74"):
        Database(place, table="later")


ENDLESS = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"


@pytest.mark.parametrize(
    "view",
    [
        f"{ENDLESS} SELECT 'A' AS subject, 'r' AS relation, n AS value FROM c",
        f"{ENDLESS} SELECT 'A' || n AS subject, 'r' AS relation, 'v' AS value FROM c",
        f"{ENDLESS} SELECT 'A' AS subject, 'r' || n AS relation, 'v' AS value FROM c WHERE n < 0",
    ],
)
def test_an_endless_view_is_stopped_on_opening(view, tmp_path, monkeypatch):
    monkeypatch.setattr("lacy.sources.db.facts.VIEW_SECONDS", 0.5)
    monkeypatch.setattr("lacy.sources.db.facts._MOST_NAMES", 10_000)
    place = sqlite_with(tmp_path / "own.sqlite", [*GOOD[2:], f"CREATE VIEW fact AS {view}"])
    with pytest.raises(LacyError, match=r"E66.*(no answer within 0\.5 s|more than 10,000 names)"):
        Database(place)
    path = tmp_path / "m.yaml"
    path.write_text(draft_mapping(place, path))  # reads one row, or leaves the view out
    assert "subject: " in path.read_text()


def test_the_case_of_identifiers_and_text_that_is_no_utf8(tmp_path):
    place = sqlite_with(
        tmp_path / "own.sqlite",
        ["CREATE TABLE Fact (Subject TEXT, Relation TEXT, VALUE TEXT)",
         "INSERT INTO Fact VALUES ('Ada Vell', 'town', 'Kelfield'), ('Ada Vell', 'job',"
         " CAST(x'ff62' AS TEXT)), (CAST(x'ff' AS TEXT), 'town', 'Ulm')"],
    )  # fmt: skip
    with Database(place) as source:
        assert source.facts("Ada Vell") == [("town", "Kelfield")] and len(source.names) == 1
    content = {"database": place, "subject": "fact.subject", "relations": {"a": "FACT.value"}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    with Database.mapped(tmp_path / "m.yaml") as source:
        assert source.facts("Ada Vell") == [("a", "Kelfield")]


def test_views_of_views_of_views_are_left_out_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr("lacy.sources.db.stores.sqlite.VIEW_SECONDS", 0.0)
    bomb = ["CREATE VIEW v0 AS SELECT * FROM fact"] + [
        f"CREATE VIEW v{n} AS SELECT * FROM v{n - 1} UNION ALL SELECT * FROM v{n - 1}"
        for n in range(1, 60)
    ]
    with Database(sqlite_with(tmp_path / "own.sqlite", GOOD + bomb)) as source:
        assert words(source, "Ada Vell lives in") == ["Kelfield"]


def test_values_that_are_too_long_are_not_read(tmp_path):
    place = sqlite_with(
        tmp_path / "own.sqlite",
        [*GOOD,
         "INSERT INTO fact VALUES ('Ada Vell', 'photo', zeroblob(20000000)),"
         " ('Ada Vell', 'novel', printf('%.*c', 3000000, 'x')), ('Ada Vell', 'born', '1815')",
         "CREATE VIEW huge AS SELECT 'Ada Vell' AS subject, 'r' AS relation,"
         " hex(zeroblob(400000000)) AS value"],
    )  # fmt: skip
    with Database(place) as source:
        assert words(source, "Ada Vell was") == ["Kelfield", "1815"]
    with pytest.raises(LacyError, match=r"E66.*too big"):
        Database(place, table="huge")


def test_damaged_files_are_coded_errors_or_answers(tmp_path):
    """Cut at any page, and with any bytes overwritten."""
    rows = [f"INSERT INTO fact VALUES ('Ada {n}', 'k', '{'v' * 50}')" for n in range(200)]
    made = [*GOOD, "CREATE VIEW v AS SELECT * FROM fact", *rows]
    whole = Path(sqlite_with(tmp_path / "own.sqlite", made)).read_bytes()
    path = tmp_path / "hurt.sqlite"
    broken = 0
    for number in range(120):
        hurt = bytearray(whole)
        if number % 3 == 0:
            del hurt[len(hurt) * (number + 1) // 121 :]
        else:
            at, size = (number * 7919) % (len(hurt) - 64), 1 + number % 64
            hurt[at : at + size] = bytes((number * 31 + n) % 256 for n in range(size))
        path.write_bytes(bytes(hurt))
        try:
            with Database(path) as source:
                reply = ask(source, "Ada 7 was")
                assert reply.candidates or reply.error
            draft_mapping(path, tmp_path / "m.yaml")
        except LacyError as error:
            assert error.code in ("E66", "E67", "E68", "E74", "E97")
            broken += 1
    assert broken > 30


# ------------------------------------------------------------------------------ postgresql


def test_tables_without_permission_are_hidden(postgres, tmp_path):
    url = postgres.fill(
        ["DROP ROLE IF EXISTS reader", "CREATE ROLE reader LOGIN", *GOOD,
         "GRANT SELECT (name, town) ON person TO reader", "GRANT SELECT ON fact TO reader",
         "CREATE TABLE salary (name TEXT, pay INT)",
         "CREATE SCHEMA closed", "CREATE TABLE closed.plan (name TEXT, town TEXT)",
         "GRANT SELECT ON closed.plan TO reader",
         "CREATE TABLE own (name TEXT, town TEXT, who TEXT)",
         "INSERT INTO own VALUES ('Jo Orr', 'Roston', 'reader'), ('Mo Orr', 'Ulm', 'boss')",
         "ALTER TABLE own ENABLE ROW LEVEL SECURITY", "GRANT SELECT ON own TO reader",
         "CREATE POLICY mine ON own TO reader USING (who = current_user)"],
    )  # fmt: skip
    url = postgres.url(url.rpartition("/")[2], user="reader")
    store = open_store(url)
    found = store.catalogue()
    store.close()
    assert found.tables["person"].keys() == {"name", "town"} and "person" not in found.keys
    assert set(found.tables) == {"fact", "own", "person"}
    path = tmp_path / "m.yaml"
    path.write_text(draft_mapping(url, path))
    assert not {"salary", "closed", "person.id"} & set(path.read_text().replace("\n", " ").split())
    with Database(url) as source:
        assert words(source, "Ada Vell lives in") == ["Kelfield"]
    for subject, known in (("own", ["Jo Orr"]), ("person", ["Ada Vell"])):
        content = {"database": url, "subject": f"{subject}.name",
                   "relations": {"town": f"{subject}.town"}}  # fmt: skip
        path.write_text(yaml.safe_dump(content))
        with Database.mapped(path) as source:
            assert list(source.names) == known and words(source, f"{known[0]} lives in")


def test_a_value_cannot_break_a_query_of_postgresql(postgres):
    with Database(postgres.fill(GOOD)) as source:
        with pytest.raises(StoreError):
            source.store.rows("SELECT 1 / 0")
        assert words(source, "Ada Vell lives in") == ["Kelfield"]  # the transaction was ended
        assert source.store.rows("SHOW statement_timeout") != [("0",)]
        for setting, value in (("transaction_read_only", "on"), ("intervalstyle", "postgres")):
            assert source.store.rows(f"SHOW {setting}") == [(value,)]
        session = "SELECT setting FROM pg_settings WHERE name = 'default_transaction_read_only'"
        assert source.store.rows(session) == [("off",)]
