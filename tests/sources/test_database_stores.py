"""DuckDB, PostgreSQL and SQLite behind the database source: the same answers, nothing written."""

import asyncio
import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from helpers.stores import SCHEMA, duck_with, sqlite_with
from lacy.errors import LacyError
from lacy.sources import Database, guarded, open_source
from lacy.sources.db import draft_mapping
from lacy.sources.db.stores import StoreError
from lacy.types import Request


@pytest.fixture(params=["sqlite", "duckdb", "postgres"])
def filled(request, tmp_path):
    """A function that fills a new database and gives its path or address."""
    if request.param == "sqlite":
        return lambda statements=SCHEMA: sqlite_with(tmp_path / "facts.sqlite", statements)
    if request.param == "duckdb":
        return lambda statements=SCHEMA: duck_with(tmp_path / "facts.duckdb", statements)
    return request.getfixturevalue("postgres").fill


def ask(source, text, subject=None):
    return asyncio.run(source.ask([Request(text, subject=subject)]))[0]


def texts(reply):
    return [candidate.text for candidate in reply.candidates]


def test_every_database_gives_the_same_facts(filled):
    with open_source(filled()) as database:
        reply = ask(database, "Ada Lovelace was born on")
        assert texts(reply) == [" 10 December 1815", " mathematics"]
        assert reply.ranked and not reply.error
        [first, _] = reply.candidates
        assert first.evidence == f"Ada Lovelace · born · 10 December 1815 ({database.name})"
        assert first.alternatives == pytest.approx(1.0)
        assert database.alternatives["field"] == pytest.approx(2.0)
        assert database.facts("Emil Quilodell") == [("field", "ethnology")]
    closed = ask(database, "Ada Void", subject="Ada Void")
    assert closed.error and closed.fault


def test_databases_are_read_only(filled):
    with Database(filled()) as database:
        for query in ("DELETE FROM fact", "CREATE TABLE more (a INTEGER)", "DROP TABLE fact"):
            with pytest.raises(StoreError, match=r"(?i)read.?only"):
                database.store.rows(query)
        assert database.store.rows("SELECT COUNT(*) FROM fact") == [(3,)]


def test_missing_tables_and_columns_list_what_exists(filled):
    path = filled()
    with pytest.raises(LacyError, match=r"E67.*has no table 'facts'; it has: award, city, claim"):
        Database(path, table="facts")
    with pytest.raises(LacyError, match=r"E68.*it has: subject, relation, value"):
        Database(path, value="object")


def test_reaching_max_rows_is_noted_in_every_database(filled):
    with Database(filled(), max_rows=1) as database:
        [only] = ask(database, "Ada Lovelace").candidates
        assert "first 1 of more facts" in only.evidence


SLOW = {
    "Sqlite": "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000000000)"
    " SELECT COUNT(*) FROM c",
    "DuckDb": "SELECT COUNT(*) FROM range(10000000) a, range(10000000) b"
    " WHERE a.range + b.range > 1",
    "Postgres": "SELECT pg_sleep(60)",
}


def test_a_query_times_out_and_the_next_one_works(filled):
    with Database(filled()) as database:
        store, begin = database.store, time.perf_counter()
        with pytest.raises(StoreError, match=r"no answer within 0\.1 s"):
            store.rows(SLOW[type(store).__name__], seconds=0.1)
        assert time.perf_counter() - begin < 30
        assert store.rows("SELECT 1") == [(1,)]


def test_a_slow_database_does_not_block_the_event_loop(filled):
    with Database(filled(), timeout=30.0) as database:
        store = database.store
        if not store.blocking:
            pytest.skip("SQLite answers where it is asked")
        inner = store.rows
        store.rows = lambda *_, **__: inner(SLOW[type(store).__name__], seconds=30.0)

        async def both():
            ticks = 0
            asked = asyncio.ensure_future(
                guarded(database, [Request("Ada Lovelace was")], timeout=0.3)
            )
            while not asked.done():
                await asyncio.sleep(0.01)
                ticks += 1
            return ticks, asked.result()

        begin = time.perf_counter()
        ticks, [reply] = asyncio.run(both())  # waits for the thread: it was interrupted
        assert time.perf_counter() - begin < 25
        assert ticks > 10 and reply.fault and "no answer after" in reply.error


def test_many_threads_share_a_database(filled):
    with Database(filled()) as database:
        wrong = []

        def run():
            for _ in range(20):
                database._cache.clear()
                if texts(ask(database, "Emil Quilodell taught")) != [" ethnology"]:
                    wrong.append(1)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_duckdb_reads_no_other_file_and_keeps_its_settings(tmp_path):
    path = duck_with(tmp_path / "facts.db")  # told by its first bytes
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = hashlib.sha256((tmp_path / "facts.db").read_bytes()).hexdigest()
    with Database(path) as database:
        for query in (
            f"SELECT * FROM read_csv('{tmp_path / 'secret.csv'}')",
            "SET enable_external_access = true",
            f"ATTACH '{tmp_path / 'other.duckdb'}'",
            f"COPY fact TO '{tmp_path / 'out.csv'}'",
            "INSTALL httpfs",
        ):
            with pytest.raises(StoreError):
                database.store.rows(query)
        assert texts(ask(database, "Ada Lovelace"))
    assert hashlib.sha256((tmp_path / "facts.db").read_bytes()).hexdigest() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["facts.db", "secret.csv"]


def test_damaged_and_missing_files(tmp_path):
    with pytest.raises(LacyError, match="E65"):
        Database(tmp_path / "absent.duckdb")
    damaged = tmp_path / "damaged.duckdb"
    damaged.write_bytes(b"12345678DUCK" + b"x" * 5000)
    with pytest.raises(LacyError, match="E66"):
        Database(damaged)


@pytest.mark.parametrize(
    ("package", "name"), [("duckdb", "a.duckdb"), ("psycopg", "postgres://h/d")]
)
def test_a_missing_package_names_its_extra(package, name, tmp_path, monkeypatch):
    (tmp_path / "a.duckdb").write_bytes(b"12345678DUCK")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    extra = {"duckdb": "duckdb", "psycopg": "postgres"}[package]
    with pytest.raises(LacyError, match=rf"E11(.|\n)*lacy\[{extra}\]"):
        open_source(name)


# ------------------------------------------------------------------------------- postgresql


def test_a_lost_connection_is_opened_again(postgres):
    with Database(postgres.fill()) as database:
        [(pid,)] = database.store.rows("SELECT pg_backend_pid()")
        with postgres.connect() as other:
            other.execute("SELECT pg_terminate_backend(%s, 2000)", (pid,))
        assert texts(ask(database, "Ada Lovelace was born on"))
        [(again,)] = database.store.rows("SELECT pg_backend_pid()")
        assert again != pid
        with pytest.raises(StoreError, match="read-only"):  # the new one, too
            database.store.rows("DELETE FROM fact")


def test_the_connection_to_a_silent_server_is_cut(postgres):
    with Database(postgres.fill(), timeout=0.2) as database:
        [(pid,)] = database.store.rows("SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGSTOP)
        try:
            begin = time.perf_counter()
            reply = ask(database, "Ada Lovelace was born on")
            assert reply.fault and "no answer within 0.2 s" in reply.error
            assert time.perf_counter() - begin < 30
        finally:
            os.kill(pid, signal.SIGCONT)
        assert texts(ask(database, "Ada Lovelace was born on"))


def test_no_message_name_or_evidence_shows_a_password(postgres, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    secret = "s3cr3t/p@ss:word%"
    url = postgres.fill()
    name = url.rpartition("/")[2]
    said = []
    good = postgres.url(name, password=secret)  # the server trusts everybody on its socket
    with Database(good) as database:
        said += [database.name, database.url, repr(database.settings()), repr(vars(database))]
        said += [repr(candidate) for candidate in ask(database, "Ada Lovelace").candidates]
        monkeypatch.setattr(database.store, "_secret", "born")
        with pytest.raises(StoreError) as caught:
            database.store.rows("SELECT born")
        assert "***" in str(caught.value)

    said.append(draft_mapping(good, tmp_path / "m.yaml"))
    for bad in (
        postgres.url("no_such_database", password=secret),
        postgres.url(name, user="nobody", password=secret),
        f"postgresql://u:{secret}@127.0.0.1:1/d",  # not encoded: parsed somewhere else
        "postgresql://u:s3cr3t%@127.0.0.1:1/d",
        "postgresql://u:s3cr3t@127.0.0.1:port/d",
        "postgres:/u:s3cr3t@127.0.0.1/d",
        "postgresql://u:s3cr3t@127.0.0.1:1/d?nonsense=1",
        "postgresql://127.0.0.1:1/d?password=s3cr3t",
    ):
        with pytest.raises(LacyError, match="E94") as caught:
            open_source(bad)
        said += [str(caught.value), repr(caught.value.values)]
    assert not [line for line in [*said, caplog.text] if "s3cr3t" in line]


def test_the_password_may_come_from_the_environment(postgres, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "s3cr3t")
    with Database(postgres.fill()) as database:
        assert texts(ask(database, "Ada Lovelace"))


def test_other_schemas_and_odd_names(postgres):
    url = postgres.fill(
        [
            "CREATE SCHEMA lab",
            'CREATE TABLE lab."the %s ""facts""" ("who%" TEXT, "k i" TEXT, "v.1" DATE)',
            """INSERT INTO lab."the %s ""facts\"\"\" VALUES ('A B', 'k', '-infinity')""",
            """INSERT INTO lab."the %s ""facts\"\"\" VALUES ('A B', 'l', '0044-03-15 BC')""",
        ]
    )
    names = {"table": 'lab.the %s "facts"', "subject": "who%", "relation": "k i", "value": "v.1"}
    with Database(url, **names) as database:
        assert database.facts("A B") == [("l", "0044-03-15 BC")]  # infinity is no date


def test_importing_the_source_needs_no_driver():
    code = (
        "import sys, lacy.sources.db.database, lacy.sources.db.mapping\n"
        "assert not {'duckdb', 'psycopg'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
