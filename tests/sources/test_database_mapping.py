"""Mapping files: tables of any shape as facts, mistakes in them, drafts."""

import asyncio

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.stores import MAPPING, SCHEMA, duck_with, sqlite_with
from lacy.cli import main
from lacy.errors import LacyError
from lacy.sources import Database, open_source
from lacy.sources.db import draft_mapping
from lacy.sources.db.values import make_formatter
from lacy.types import Request


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def place(request, tmp_path):
    """A database of each kind, as a mapping names it."""
    if request.param == "sqlite":
        return sqlite_with(tmp_path / "own.sqlite")
    if request.param == "duckdb":
        return duck_with(tmp_path / "own.duckdb")
    return request.getfixturevalue("postgres").fill()


def mapping(tmp_path, text, database="own.sqlite"):
    path = tmp_path / "mapping.yaml"
    path.write_text(text.replace("DATABASE", str(database)))
    return path


@pytest.fixture
def own(tmp_path):
    """A function that opens a mapping of the SQLite database."""
    sqlite_with(tmp_path / "own.sqlite")
    return lambda text: Database.mapped(mapping(tmp_path, text))


def texts(source, text, subject=None):
    [reply] = asyncio.run(source.ask([Request(text, subject=subject)]))
    assert reply.candidates or reply.error
    return [candidate.text for candidate in reply.candidates] or reply.error


def test_mapped_tables_answer_in_every_database(place, tmp_path):
    with open_source(str(mapping(tmp_path, MAPPING, place))) as database:
        [reply] = asyncio.run(database.ask([Request("Ada Lovelace was born on")]))
        assert [(c.kind, c.text) for c in reply.candidates] == [
            ("birth date", " 10 December 1815"),
            ("birth date", " December 10, 1815"),
            ("height", " 1.62 m"),
            ("birth place", " London"),
            ("mother", " Annabella Byron"),
            ("award", " Copley Medal"),
            ("award", " Royal Medal"),
            ("field", " mathematics"),
        ]
        assert {c.evidence for c in reply.candidates[:2]} == {
            f"Ada Lovelace · birth date · 10 December 1815 ({database.name})"
        }
        assert database.alternatives["birth date"] == pytest.approx(5.0)
        assert texts(database, "A. A. L. was born in")[3] == " London"
        assert texts(database, "Emil Quilodell stood")[2] == " 1,234.50 m"
        assert "several entries are called 'John Smith'" in texts(database, "John Smith was")


def test_the_smallest_mappings(own):
    wide = own("database: own.sqlite\nsubject: person.name\nrelations: {born: person.born}")
    assert wide.facts("Ada Lovelace") == [("born", "1815-12-10")]
    table = own(
        "database: own.sqlite\nsubject: fact.subject\n"
        "facts: {relation: fact.relation, value: fact.value}"
    )
    assert table.facts("Ada Lovelace") == [("born", "10 December 1815"), ("field", "mathematics")]
    keyed = own(
        "database: own.sqlite\nsubject: person.name\nkey: person.name\n"
        "relations: {city: {value: city.name, join: [city.id = person.city_id]}}"
    )
    assert keyed.facts("John Smith") == [("city", "London"), ("city", "Kelfield")]
    assert "it does not know" in texts(keyed, "x", subject="Annabella Byron")


HEAD = "database: own.sqlite\nsubject: person.name\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("subject: person.name\nrelations: {a: b.c}", "database: name the file"),
        ("database: own.sqlite\nsubject: person.name", "relations: missing"),
        (HEAD + "relation: {a: b.c}\nfacts: {}", "relation: there is no such entry; did you mean "),
        ("database: own.sqlite\nrelations: {a: city.name}", "subject: name a column: TABLE.COLUMN"),
        ("database: own.sqlite\nsubject: name\nrelations: {}", "did you mean .*name"),
        ("database: own.sqlite\nsubject: persons.name\nrelations: {}",
         "subject: there is no table 'persons'; did you mean person?"),
        (HEAD + "relations: {born: person.bron}",
         "relations, born: *value: person has no column 'bron'; did you mean born?"),
        (HEAD + "relations: {born: born}", "value: 'born' is not of the form TABLE.COLUMN; did you "
         "mean person.born"),
        (HEAD + "relations: {city: city.name}", r"no join leads from person to city; it "
         r"has a foreign key: join: \[person.city_id = city.id\]"),
        (HEAD + "relations: {a: {value: award.title, join: [won.award_id = award.id]}}",
         "begins at won, which is not joined yet; so far: person"),
        (HEAD + "relations: {a: {value: award.title, join: [won]}}", "TABLE.COLUMN = TABLE.COLUMN"),
        (HEAD + "relations: {a: {value: person.born, dates: '%Y'}}", "did you mean date?"),
        (HEAD + "relations: {a: {value: person.born, date: '%Q %Y'}}", "date: %Q is not one of %d"),
        (HEAD + "relations: {a: {value: person.born, date: 'year'}}", "names no part of a date"),
        (HEAD + "relations: {a: {value: person.born, number: '%d'}}", "number: .*Invalid format"),
        (HEAD + "relations: {a: {value: person.born, number: ',', date: '%Y'}}", "not both"),
        (HEAD + "relations: {a: {value: person.born, text: 'm'}}", "write {} where"),
        (HEAD + "relations: [person.born]", "write `name: TABLE.COLUMN` lines"),
        (HEAD + "facts: person.born", "facts: write {relation"),
        (HEAD + "facts: {relation: person.kind, value: city.id}", "facts, relation: person has"),
        (HEAD + "key: city.id\nrelations: {}", "key: it must be a column of person"),
        (HEAD + "relations: {a: 3}", "write TABLE.COLUMN"),
        (HEAD + "relations: {a: }", "write TABLE.COLUMN"),
        (HEAD + "relations: {a: [}", "expected the node content"),
        (HEAD + "relations: {a: person.born, a: person.born}", "is set in line"),
        (HEAD + "aliases: [city.name]\nrelations: {}", "aliases, entry 1, value: no join leads"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_suggestions(text, said, own, tmp_path):
    with pytest.raises(LacyError, match=f"E95(.|\n)*{said}".replace(": *", ".*")) as caught:
        own(text)
    assert str(tmp_path / "mapping.yaml") in str(caught.value)


def test_all_mistakes_are_reported_together_without_a_password(own, tmp_path):
    with pytest.raises(LacyError, match="3 problem"):
        own(HEAD + "relations: {a: person.x, b: city.name, c: {value: person.born, wrong: 1}}")
    with pytest.raises(LacyError, match="E95") as caught:
        own("database: postgresql://u:s3cr3t@h/d: [\nsubject: x")
    assert "s3cr3t" not in str(caught.value) + repr(caught.value.values)
    with pytest.raises(LacyError, match="E13"):
        Database.mapped(tmp_path / "absent.yaml")
    with pytest.raises(LacyError, match="E65"):
        own("database: absent.sqlite\nsubject: a.b\nrelations: {}")


def test_tables_that_cannot_be_joined_are_reported(postgres, tmp_path):
    text = HEAD + "relations: {a: {value: city.name, join: [person.name = city.id]}}"
    path = mapping(tmp_path, text.replace("own.sqlite", postgres.fill()))
    with pytest.raises(LacyError, match=r"E96.*operator does not exist"):
        Database.mapped(path)


# ------------------------------------------------------------------------------------ drafts


def test_a_draft_opens_and_knows_the_facts(place, tmp_path):
    path = tmp_path / "draft.yaml"
    path.write_text(draft_mapping(place, path))
    with Database.mapped(path) as database:
        assert ("field", "mathematics") in database.facts("Ada Lovelace")


def test_a_draft_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sqlite_with("own.sqlite", SCHEMA[:-2])
    assert main(["source", "map", "own.sqlite", "--out", "mapping.yaml"]) == 0
    assert "subject: person.name" in capsys.readouterr().out
    text = (tmp_path / "mapping.yaml").read_text()
    assert "database: own.sqlite" in text and "aliases: [person.pen_name]" in text
    assert main(["source", "ask", "mapping.yaml", "Ada Lovelace was born in"]) == 0
    shown = capsys.readouterr().out
    for value in ("10 December 1815", "London", "Copley Medal", "Annabella Byron", "1.62"):
        assert value in shown
    with pytest.raises(SystemExit) as left:
        raise SystemExit(main(["source", "map", "own.sqlite", "--out", "mapping.yaml"]))
    assert left.value.code == 2
    assert (tmp_path / "mapping.yaml").read_text() == text


def test_nothing_to_draft_is_reported(tmp_path):
    path = sqlite_with(tmp_path / "numbers.sqlite", ["CREATE TABLE n (a INTEGER, b REAL)"])
    with pytest.raises(LacyError, match=r"E97.*tables: n"):
        draft_mapping(path, tmp_path / "m.yaml")


def test_odd_tables_can_be_drafted(tmp_path):
    odd = [
        'CREATE TABLE "my ""odd"" = table.x" ("a.name" TEXT, "is: it" TEXT, "no" TEXT)',
        """INSERT INTO "my ""odd"" = table.x" VALUES ('Ada Lovelace', 'x', '1815-12-10')""",
    ]
    path = tmp_path / "m.yaml"
    path.write_text(draft_mapping(sqlite_with(tmp_path / "odd.sqlite", odd), path))
    with Database.mapped(path) as database:
        assert database.facts("Ada Lovelace") == [("is: it", "x"), ("no", "10 December 1815")]


# ------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("stored", "date", "said"),
    [
        ("1815-12-10", "%-d %B %Y", "10 December 1815"),
        ("1815-05-02 10:00:00", "%d.%m.%Y", "02.05.1815"),
        ("1815-05-02", "%b %-d, %Y (%-m) 100%%", "May 2, 1815 (5) 100%"),
        ("0044-03-15 BC", "%-d %B %Y", "15 March 44 BC"),
        ("1815", "%-d %B %Y", "1815"),
        ("1815-13-10", "%-d %B %Y", "1815-13-10"),
        ("about 1815", "%-d %B %Y", "about 1815"),
    ],
)
def test_dates_are_written_as_texts_write_them(stored, date, said):
    assert make_formatter([date])(stored) == [said]


@pytest.mark.parametrize(
    ("stored", "number", "said"),
    [(1234567, ",", "1,234,567"), ("1.625", ".2f", "1.62"), ("many", ",", "many"),
     (1815.0, ".0f", "1815"), ("2.675", ".2f", "2.68"), (1815, "05d", "01815"),
     ("12345678901234567890.55", ",.2f", "12,345,678,901,234,567,890.55"),
     ("12345678901234567890123", ",.0f", "12,345,678,901,234,567,890,123"),
     ("9" * 400 + ".5", ",.1f", "9" * 400 + ".5")],
)  # fmt: skip
def test_numbers_are_written_as_texts_write_them(stored, number, said):
    assert make_formatter(number=number)(stored) == [said]
    assert make_formatter(number=number)(float("inf")) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.dates(), st.datetimes()))
def test_formatters_accept_any_value(value):
    for write in (
        make_formatter(["%-d %B %Y"]),
        make_formatter(number=",.1f"),
        make_formatter(text="<{}>"),
    ):
        assert all(isinstance(way, str) for way in write(value))


def test_names_that_differ_only_in_spaces_are_ambiguous(tmp_path):
    path = sqlite_with(
        tmp_path / "own.sqlite",
        ["CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, born TEXT)",
         "INSERT INTO person VALUES (1, 'Ada Vell', '1801'), (2, 'Ada  Vell ', '1902'),"
         " (3, ' Bo  Orr', '1703')"],
    )  # fmt: skip
    content = {"database": path, "subject": "person.name", "relations": {"born": "person.born"}}
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content))
    with Database.mapped(tmp_path / "m.yaml") as database:
        [reply] = asyncio.run(database.ask([Request("Ada Vell was born in")]))
        assert "several entries" in reply.error and not reply.candidates
        [reply] = asyncio.run(database.ask([Request("Bo Orr was born in")]))
        assert [c.text for c in reply.candidates] == [" 1703"]
