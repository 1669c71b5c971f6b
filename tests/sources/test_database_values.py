"""Any table content gives values or is left out; nothing raises or is written."""

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.stores import SCHEMA, duck_with, sqlite_with
from lacy.errors import LacyError
from lacy.sources import Database
from lacy.sources.db.database import LONGEST_VALUE
from lacy.sources.db.values import value_texts
from lacy.types import Request

HOSTILE = [
    "'", '"', '""', "';--", "Robert'); DROP TABLE fact;--", "x' OR '1'='1", '" OR ""="', "%s", 
    "%(a)s",
    "?", "$1", "\\", "\x00", "NULL", "1; DELETE FROM fact", "/*", "*/", "{}", "%", "%%", "::text",
    "'||(SELECT value FROM fact)||'", "`", "\n", "\u202e", "é", "e\u0301", "ﬁ", "İ", "日本", "💥",
]  # fmt: skip
strings = st.one_of(
    st.text(max_size=25), st.sampled_from(HOSTILE), st.text("'\";-% ab", max_size=9)
)
whatever = st.one_of(st.none(), strings, st.integers(-(2**63), 2**63 - 1), st.floats(), st.binary())
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40,
                 deadline=None)  # fmt: skip


def ask(source, text, subject=None):
    [reply] = asyncio.run(source.ask([Request(text, subject=subject)]))
    assert bool(reply.candidates) != bool(reply.error)
    return reply


def spoken(value):
    """The words of a text: itself, unless it is a list in JSON."""
    return {word for word in value_texts(value) if word.strip()}


def sha(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@quick
@given(rows=st.lists(st.tuples(strings, whatever, whatever), max_size=8), asked=strings)
def test_any_sqlite_content_is_read_and_not_changed(rows, asked, tmp_path):
    path = tmp_path / "any.sqlite"
    path.unlink(missing_ok=True)
    safe = [row for row in rows if not any(_lone(x) for x in row)]
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE fact (subject, relation, value)")
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", safe)
    before = sha(path)
    with Database(path) as database:
        for subject in [asked, *(row[0] for row in safe)]:
            ask(database, f"{subject} was", subject)
            ask(database, f"{subject} was")
        for subject, _, value in safe:
            if isinstance(value, str) and subject.strip():
                assert spoken(value) <= {v for _, v in database.facts(subject)}
    assert sha(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["any.sqlite"]


@settings(quick, max_examples=12)  # each opens a database anew
@given(rows=st.lists(st.tuples(strings, strings, strings), max_size=6), asked=strings)
def test_every_store_gives_the_same_texts(rows, asked, store):
    rows = [row for row in rows if not any(_lone(x) or "\x00" in x for x in row)]
    database, write, count = store
    write(rows)
    with database() as source:
        for subject, _, value in rows:
            if subject.strip():
                assert spoken(value) <= {v for _, v in source.facts(subject)}
            ask(source, f"{subject} was")
        ask(source, asked, asked)
        assert source.store.rows("SELECT COUNT(*) FROM fact") == [(len(rows),)] == [(count(),)]


@pytest.fixture(params=["duckdb", "postgres"])
def store(request, tmp_path):
    """A function that opens, one that fills the table anew, one that counts its rows."""
    table = "CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)"
    if request.param == "postgres":
        server = request.getfixturevalue("postgres")
        place = server.fill([table])
        connect, mark = (lambda: server.connect(place)), "%s"
    else:
        import duckdb

        place = duck_with(tmp_path / "any.duckdb", [table])
        connect, mark = (lambda: closing(duckdb.connect(place))), "?"

    def write(rows):
        with connect() as db:
            db.execute("DELETE FROM fact")
            for row in rows:
                db.execute(f"INSERT INTO fact VALUES ({mark}, {mark}, {mark})", list(row))

    def count():
        if request.param == "duckdb":
            return source_count(place)
        with connect() as db:
            return db.execute("SELECT COUNT(*) FROM fact").fetchone()[0]

    def source_count(path):
        with Database(path) as database:
            return database.store.rows("SELECT COUNT(*) FROM fact")[0][0]

    return lambda: Database(place), write, count


def _lone(value):
    return isinstance(value, str) and any(0xD800 <= ord(c) <= 0xDFFF for c in value)


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_injection_through_subjects_does_nothing(kind, tmp_path):
    path = {"sqlite": sqlite_with, "duckdb": duck_with}[kind](tmp_path / f"own.{kind}", SCHEMA)
    before = sha(path)
    with Database(path) as database:
        for text in HOSTILE:
            for asked in (text, f"Ada Lovelace{text}", f"{text}Ada Lovelace was"):
                ask(database, asked)
            assert ask(database, "x", subject=text).error
        assert database.store.rows("SELECT COUNT(*) FROM fact") == [(3,)]
    assert sha(path) == before


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip()])
def test_injection_through_mapping_names_does_nothing(text, tmp_path, own):
    before = sha(own)
    mapping = tmp_path / "m.yaml"
    for entry in (
        {"subject": f"fact.{text}"},
        {"subject": f"{text}.subject"},
        {"key": f"fact.subject{text}"},
        {"relations": {text: "fact.value", "b": f"fact.value{text}"}},
        {"relations": {"a": {"value": "city.name", "join": [f"fact.value = city.name{text}"]}}},
    ):
        content = {"database": own, "subject": "fact.subject", "relations": {"a": "fact.value"}}
        mapping.write_text(yaml.safe_dump({**content, **entry}), encoding="utf-8")
        with pytest.raises(LacyError, match="E95"):
            Database.mapped(mapping)
    for names in ({"table": text}, {"subject": text}, {"value": f"value{text}"}):
        with pytest.raises(LacyError, match=r"E67|E68"):
            Database(own, **names)
    assert sha(own) == before


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return sqlite_with(tmp_path_factory.mktemp("own") / "own.sqlite")


def test_relations_may_have_any_name(tmp_path):
    path = sqlite_with(tmp_path / "own.sqlite")
    names = [name for name in HOSTILE if "\x00" not in name]
    content = {"database": "own.sqlite", "subject": "fact.subject"}
    content["relations"] = dict.fromkeys(names, "fact.value")
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    before = sha(path)
    with Database.mapped(tmp_path / "m.yaml") as database:
        kinds = {c.kind for c in ask(database, "Emil Quilodell was").candidates}
    assert kinds == set(names) and sha(path) == before


def test_control_codes_images_and_long_texts_are_never_offered(tmp_path):
    path = tmp_path / "own.sqlite"
    evil = "\x1b]0;title\x07London\x9b2J \u202eevil\r\nsecond\x00line"
    rows = [
        ("Ada Vell", "place\x1b[2J", evil), ("Ada Vell", "photo", b"\x89PNG\xff"),
        ("Ada Vell", "letters", b"Ulm"), ("Ada Vell", "novel", "x" * (LONGEST_VALUE + 1)),
        ("Bo\x1b[31m Orr", "photo", b"\xff"),
    ]  # fmt: skip
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE fact (subject, relation, value)")
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    with Database(path) as database:
        first, second = ask(database, "Ada Vell was").candidates
        assert first.text == "]0;title London 2J evil second line" and second.text == " Ulm"
        for candidate in (first, second):
            assert candidate.evidence.isprintable()
        assert "does not know" in ask(database, "x", subject="Bo\x1b[31m Orr").error
