"""Words for stored values: numbers, lists, JSON, intervals, and values that give none."""

import asyncio
import datetime
import math
import sqlite3
import uuid
from contextlib import closing
from decimal import Decimal

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from helpers.stores import duck_with
from lacy.annotate.grammar import trim_value
from lacy.sources import Database, ScriptedSource, guarded
from lacy.sources.db.values import value_texts
from lacy.sources.units import plain_value
from lacy.types import Candidate, Reply, Request


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1815.0, ["1815"]), (1e16, ["10000000000000000"]), (1.62, ["1.62"]), (-0.0, ["0"]),
        (1e-7, ["0.0000001"]), (1e23, ["100000000000000000000000"]), (12, ["12"]),
        (2**63, ["9223372036854775808"]), (math.inf, []), (-math.inf, []), (math.nan, []),
        (Decimal("12.50"), ["12.50"]), (Decimal("1815.000"), ["1815"]),
        (Decimal("1E+3"), ["1000"]), (Decimal("NaN"), []), (Decimal("-0.00"), ["0"]),
        (Decimal("1e9999"), []), (np.float64(1815), ["1815"]), (np.float32(1.1), ["1.1"]),
        (np.int64(7), ["7"]), (np.float64("nan"), []), (np.bool_(True), ["true"]),
        (True, ["true"]), (None, []), ("1815.0", ["1815.0"]), ("inf", ["inf"]),
        ("NaN", ["NaN"]), ("{a,b}", ["{a,b}"]), (b"Ulm", ["Ulm"]), (b"\xff\xd8", []),
        (b"GIF89a\x01\x00", []), (["Ulm", None, ["Roston"]], ["Ulm", "Roston"]), ({"a": 1}, []),
        (datetime.date(1815, 12, 10), ["1815-12-10"]), ("1.0e+16", ["10000000000000000"]),
        ('["Ulm", "Roston"]', ["Ulm", "Roston"]), ("[1815.0, null]", ["1815"]), ("[]", []),
        ('{"job": "miller"}', []), ("[sic]", ["[sic]"]), ('"Ulm"', ['"Ulm"']), ("null", ["null"]),
        (uuid.UUID(int=1), ["00000000-0000-0000-0000-000000000001"]),
    ],
)  # fmt: skip
def test_texts_of_python_values(value, words):
    assert value_texts(value) == words


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("1815.0", "number", ["1815"]), ("1e+16", "number", ["10000000000000000"]),
        ("NaN", "number", []), ("-Infinity", "number", []), ("12.50", "number", ["12.50"]),
        ("$1,234.50", "number", ["$1,234.50"]), ("infinity", "time", []),
        ("-infinity", "time", []), ("0044-03-15 BC", "time", ["0044-03-15 BC"]),
        ("Infinity", "text", ["Infinity"]), ('"miller"', "json", ["miller"]),
        ('["miller", "poet", null, {"a": 1}]', "json", ["miller", "poet"]),
        ('{"job": "miller"}', "json", []), ("null", "json", []), ("12.50", "json", ["12.50"]),
        ("[1815.0, true]", "json", ["1815", "true"]), ("[" * 50_000, "json", []),
        ("9" * 5_000, "json", []), ("{", "json", []),
        ("miller", "json", ["miller"]), ("", "json", []),
        ("3 years 2 mons", "interval", ["3 years 2 months"]), ("1 year", "interval", ["1 year"]),
        ("1 day 04:00:00", "interval", ["1 day 4 hours"]),
        ("00:00:01.50", "interval", ["1.50 seconds"]),
        ("00:00:00", "interval", []), ("-1 days", "interval", []), ("P1Y", "interval", []),
        ("anything", "none", []),
    ],
)  # fmt: skip
def test_texts_of_values_as_databases_write_them(value, kind, words):
    assert value_texts(value, kind) == words


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_written_exactly_without_an_exponent(value):
    [word] = value_texts(value)
    assert float(word) == value and "e" not in word and not word.endswith(".0")


@given(st.recursive(st.one_of(st.none(), st.text(), st.floats(), st.binary(), st.booleans()),
                    lambda some: st.lists(some) | st.dictionaries(st.text(), some)))  # fmt: skip
def test_any_value_gives_texts_or_none(value):
    assert all(isinstance(word, str) for word in value_texts(value))


# ----------------------------------------------------------------------------------- stores


def offered(source, text):
    """What is offered, by its kind."""
    [reply] = asyncio.run(source.ask([Request(text)]))
    found = {}
    for candidate in reply.candidates:
        found.setdefault(candidate.kind, []).append(candidate.text.strip())
    return found


def mapped(tmp_path, place, columns, **more):
    content = {
        "database": str(place),
        "subject": "thing.name",
        "relations": {column: f"thing.{column}" for column in columns},
        **more,
    }
    (tmp_path / "m.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return Database.mapped(tmp_path / "m.yaml", timeout=10.0)


def test_floats_of_sqlite(tmp_path):
    rows = [1815.0, 1e16, 1.62, math.inf, -math.inf, math.nan, -0.0, "1815.0", "1e16", 7]
    with closing(sqlite3.connect(tmp_path / "f.sqlite")) as db, db:
        db.execute("CREATE TABLE fact (subject, relation, value)")
        rows = [("Ada Vell", str(n), value) for n, value in enumerate(rows)]
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", [*rows, (1815.0, "kind", "year")])
    with Database(tmp_path / "f.sqlite") as source:
        words = [words for [words] in offered(source, "Ada Vell was").values()]
        assert words == ["1815", "10000000000000000", "1.62", "0", "1815.0", "1e16", "7"]
        assert source.facts("1815") == [("kind", "year")]


def test_invisible_values_are_left_out(tmp_path):
    with closing(sqlite3.connect(tmp_path / "f.sqlite")) as db, db:
        db.execute("CREATE TABLE fact (subject, relation, value)")
        rows = [("Ada Vell", str(n), v) for n, v in enumerate(["\u200b", "\ufeff \u00a0", "x"])]
        db.executemany("INSERT INTO fact VALUES (?, ?, ?)", rows)
    with Database(tmp_path / "f.sqlite") as source:
        assert offered(source, "Ada Vell was") == {"2": ["x"]}


def test_json_in_sqlite(tmp_path):
    rows = ['["miller", "poet"]', '"miller"', "null", '{"job": "miller"}', "miller"]
    with closing(sqlite3.connect(tmp_path / "j.sqlite")) as db, db:
        db.execute("CREATE TABLE thing (name TEXT, note TEXT, job JSON)")
        db.executemany(
            "INSERT INTO thing VALUES (?, ?, ?)", [(f"Ada {n}", r, r) for n, r in enumerate(rows)]
        )
    found = []
    with mapped(tmp_path, "j.sqlite", ["note", "job"]) as source:
        for n in range(len(rows)):
            found.append(offered(source, f"Ada {n} was"))
    assert found == [
        {"note": ["miller", "poet"], "job": ["miller", "poet"]},
        {"note": ['"miller"'], "job": ["miller"]},
        {"note": ["null"]},
        {},
        {"note": ["miller"], "job": ["miller"]},
    ]


TYPES = {
    "double": ("DOUBLE", "1815.0", ["1815"]), "wide": ("DOUBLE", "1e16", ["10000000000000000"]),
    "small": ("FLOAT", "1.1", ["1.1"]), "infinite": ("DOUBLE", "'infinity'", None),
    "nan": ("DOUBLE", "'nan'", None), "huge": ("HUGEINT", "170141183460469231731687303715884105727",
    ["170141183460469231731687303715884105727"]), "price": ("DECIMAL(10,2)", "12.5", ["12.50"]),
    "whole": ("DECIMAL(10,2)", "12", ["12"]), "tags": ("VARCHAR[]", "['a b', 'c, d']",
    ["a b", "c, d"]), "years": ("DOUBLE[]", "[1815.0, 'nan'::DOUBLE]", ["1815"]),
    "fixed": ("INTEGER[2]", "[1, 2]", ["1", "2"]), "nested": ("INTEGER[][]", "[[1]]", None),
    "struct": ("STRUCT(a INTEGER)", "{'a': 1}", None), "map": ("MAP(VARCHAR, INTEGER)",
    "MAP {'a': 1}", None), "rows": ("STRUCT(a INTEGER)[]", "[{'a': 1}]", None),
    "either": ("UNION(n INTEGER, s VARCHAR)", "1", None), "raw": ("BLOB", "'\\xFF'::BLOB", None),
    "bits": ("BIT", "'101'", None), "job": ("JSON", "'\"miller\"'", ["miller"]),
    "jobs": ("JSON", "'[\"miller\", \"poet\"]'", ["miller", "poet"]),
    "object": ("JSON", "'{\"a\": 1}'", None), "never": ("DATE", "'infinity'", None),
    "day": ("DATE", "'1815-12-10'", ["1815-12-10"]), "zone": ("TIMESTAMPTZ", "'-infinity'", None),
    "span": ("INTERVAL", "INTERVAL 14 MONTH", ["1 year 2 months"]),
    "mood": ("ENUM('calm', 'loud')", "'calm'", ["calm"]), "yes": ("BOOLEAN", "true", ["true"]),
}  # fmt: skip


def test_types_of_duckdb(tmp_path):
    columns = ", ".join(f'"{name}" {kind}' for name, (kind, _, _) in TYPES.items())
    values = ", ".join(value for _, value, _ in TYPES.values())
    place = duck_with(
        tmp_path / "t.duckdb",
        [f"CREATE TABLE thing (id INTEGER PRIMARY KEY, name VARCHAR, {columns})",
         f"INSERT INTO thing VALUES (1, 'Ada Vell', {values})"],
    )  # fmt: skip
    with mapped(tmp_path, place, TYPES) as source:
        found = offered(source, "Ada Vell was")
    assert found == {name: words for name, (_, _, words) in TYPES.items() if words}


PG_TYPES = {
    "towns": ("text[]", "ARRAY['Kelfield', 'Great Roston', NULL]", ["Kelfield", "Great Roston"]),
    "grid": ("text[]", "ARRAY[['a', 'b'], ['c', 'd']]", ["a", "b", "c", "d"]),
    "years": ("float8[]", "'{1815,NaN}'", ["1815"]), "days": ("date[]", "'{infinity,1815-12-10}'",
    ["1815-12-10"]), "raws": ("bytea[]", "'{\"\\\\x00ff\"}'", None),
    "objects": ("jsonb[]", "ARRAY['\"a\"'::jsonb, '{}']", ["a"]), "job": ("jsonb", "'\"miller\"'",
    ["miller"]), "jobs": ("json", "'[\"miller\", \"poet\"]'", ["miller", "poet"]),
    "object": ("jsonb", "'{\"a\": 1}'", None), "nothing": ("jsonb", "'null'", None),
    "raw": ("bytea", "'\\x48656c6c6f00ff'", None), "far": ("date", "'infinity'", None),
    "past": ("timestamptz", "'-infinity'", None), "nan": ("numeric", "'NaN'", None),
    "double": ("float8", "1e16", ["10000000000000000"]), "price": ("numeric(8,2)", "12.5",
    ["12.50"]), "whole": ("numeric(8,2)", "12", ["12"]), "range": ("int4range", "'[1,5)'", None),
    "pair": ("pair", "ROW(1, 'a')", None), "point": ("point", "'(1,2)'", None),
    "words": ("tsvector", "'a b'", None), "bits": ("bit(3)", "B'101'", None),
    "span": ("interval", "'3 years 2 mons'", ["3 years 2 months"]),
    "code": ("char(8)", "'AB'", ["AB"]), "short": ("short", "'Pohl'", ["Pohl"]),
    "tags": ("tags", "'{a,b}'", ["a", "b"]), "mood": ("mood", "'calm'", ["calm"]),
    "moods": ("mood[]", "'{calm}'", ["calm"]), "host": ("inet", "'10.0.0.1'", ["10.0.0.1"]),
    "id2": ("uuid", "'00000000-0000-0000-0000-000000000001'",
    ["00000000-0000-0000-0000-000000000001"]), "text": ("text", "'{a,b}'", ["{a,b}"]),
}  # fmt: skip


def test_types_of_postgresql(postgres, tmp_path):
    columns = ", ".join(f'"{name}" {kind}' for name, (kind, _, _) in PG_TYPES.items())
    values = ", ".join(value for _, value, _ in PG_TYPES.values())
    place = postgres.fill(
        ["CREATE TYPE mood AS ENUM ('calm', 'loud')", "CREATE TYPE pair AS (a int, b text)",
         "CREATE DOMAIN short AS text CHECK (length(VALUE) < 20)", "CREATE DOMAIN tags AS text[]",
         f"CREATE TABLE thing (id INTEGER PRIMARY KEY, name TEXT, other TEXT[], {columns})",
         f"INSERT INTO thing VALUES (1, 'Ada Vell', '{{Addie Pohl,A. Pohl}}', {values})"],
    )  # fmt: skip
    with mapped(tmp_path, place, PG_TYPES, aliases=["thing.other"]) as source:
        found = offered(source, "Ada Vell was")
        assert found == {name: words for name, (_, _, words) in PG_TYPES.items() if words}
        assert offered(source, "Addie Pohl was") == found  # an array of names is several names


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ("Johnson &amp; Johnson", "Johnson & Johnson"), ("<b>Ulm</b>", "Ulm"), ("<br>", "<br>"),
        ("10<sup>6</sup> km", "10^6 km"), ("caf&#233;", "café"), ("AT&T", "AT&T"),
        ("R&nosuch; D", "R&nosuch; D"), ("3 < 5 > 2", "3 < 5 > 2"), ("&nbsp;", "&nbsp;"),
    ],
)  # fmt: skip
def test_html_in_values_is_decoded(stored, plain):
    assert plain_value(stored) == plain
    source = ScriptedSource([[f" {stored}"]])
    (reply,) = asyncio.run(guarded(source, [Request("It is")]))
    assert reply.candidates[0].text == f" {plain}"
    source = ScriptedSource([Reply((Candidate(" Ulm", context=f"In Ulm, {stored}"),))])
    (reply,) = asyncio.run(guarded(source, [Request("It is")]))
    assert reply.candidates[0].context == plain_value(f"In Ulm, {stored}")


@pytest.mark.parametrize(
    ("text", "mark", "value"),
    [
        ("Sinha's father met Sinha.", "Sinha's", "Sinha"), ("At McDonald's.", "McDonald's", None),
        ('called "Hasegawa (x)', '"Hasegawa', "Hasegawa"), ("see Acme Inc.) now", "Acme Inc.)",
        "Acme Inc."), ("the Smith (Ohio) mill", "Smith (Ohio)", None), ("'s-Hertogenbosch",
        "'s-Hertogenbosch", None), ("of 1845– and", "1845–", "1845"), ("“ ”", "“ ”", ""),
        ("(5 km", "(5 km", "5 km"),
    ],
)  # fmt: skip
def test_a_value_ends_where_it_ends(text, mark, value):
    start = text.index(mark)
    a, b = trim_value(text, start, start + len(mark))
    assert text[a:b] == (mark if value is None else value)
