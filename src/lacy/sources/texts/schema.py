"""Define the SQLite file of an index, and update the indexes derived from it.

A document is stored as a whole. Its passages are in a full-text index together with the document's
subject, so that a search by name also finds "She was born in ...". Only passages with a value are
stored.

A tantivy index and vectors are derived from the file. Every change of the file is recorded as
pending in the same transaction and applied to them later, thousands of passages at a time. If a
build is killed, the next one begins with the pending passages; applying a passage twice is
harmless. Passage numbers are never reused, so an outdated derived index cannot refer to a wrong
passage.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Literal, Protocol

from lacy.sources.texts.search import TOKENIZE

INDEX_FILE = "documents.sqlite"
_APPLICATION, _VERSION = 0x6C616379, 2
"""``application_id`` and ``user_version`` of the SQLite file."""

SearchEngine = Literal["fts5", "tantivy"]
"""Engine of the search by words: SQLite's full-text search, or the package tantivy."""

ENGINE, VECTORS = "engine", "vectors"
"""Keys of the settings table. The names of derived indexes are ``tantivy`` and ``vectors``."""

UPDATE_CHUNK = 20_000
"""Number of passages written to a derived index at a time."""

BEGIN = "BEGIN IMMEDIATE"

_TABLES = (resources.files(__package__) / "schema.sql").read_text(encoding="utf-8")


def create_tables(db: sqlite3.Connection, engine: SearchEngine) -> None:
    """Create the tables of a new index in the caller's transaction."""
    for statement in filter(str.strip, _TABLES.replace("TOKENIZE", TOKENIZE).split(";")):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
    db.execute(f"PRAGMA user_version = {_VERSION}")
    db.execute("INSERT INTO setting VALUES (?, ?)", (ENGINE, engine))


def format_problem(db: sqlite3.Connection) -> str:
    """Return why an open file is not an index of this version, or ""."""
    [application], [version] = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application != _APPLICATION:
        return "it is a database, but not an index of documents"
    return "" if version == _VERSION else f"it has version {version}, not {_VERSION}"


def index_settings(db: sqlite3.Connection) -> dict[str, str]:
    """Return the engine of an index and, if it has vectors, the name of their model."""
    return dict(db.execute("SELECT name, value FROM setting").fetchall())


def count_alternatives(db: sqlite3.Connection) -> dict[str, float]:
    """Return the effective number of values of each kind, ``2^entropy``.

    A value that is repeated for the same subject counts once.
    """
    found: dict[str, list[int]] = {}
    query = (
        "SELECT kind, COUNT(*) FROM (SELECT DISTINCT span.kind, span.value,"
        " CASE subject WHEN '' THEN document.name ELSE subject END FROM span"
        " JOIN passage ON passage.id = span.passage JOIN document ON document.id = document)"
        " GROUP BY kind, value"
    )
    for kind, count in db.execute(query):
        found.setdefault(kind, []).append(count)
    return {
        kind: 2.0 ** (math.log2(sum(counts)) - sum(n * math.log2(n) for n in counts) / sum(counts))
        for kind, counts in found.items()
    }


# ----------------------------------------------------------------------------- derived indexes

PassageText = tuple[int, str, str]
"""A passage to index: its number, the subject of its document, and its text."""


class DerivedIndex(Protocol):
    """An index that is updated after the SQLite file."""

    def write(self, removed: Iterable[int], added: Iterable[PassageText]) -> None:
        """Remove passages (if they exist), then add others, and write everything to disk."""
        ...


def mark_pending(db: sqlite3.Connection, name: str, passages: Iterable[int]) -> None:
    """Record new, changed and removed passages in the caller's transaction."""
    db.executemany("INSERT OR IGNORE INTO pending VALUES (?, ?)", ((name, p) for p in passages))


def mark_all_pending(db: sqlite3.Connection, name: str) -> None:
    """Record all passages for a new derived index in the caller's transaction."""
    db.execute("INSERT OR IGNORE INTO pending SELECT ?, id FROM passage", (name,))


def update_derived(db: sqlite3.Connection, name: str, derived: DerivedIndex, minimum: int) -> None:
    """Apply all pending passages to a derived index if there are at least ``minimum``."""
    query = "SELECT COUNT(*) FROM pending WHERE follower = ?"
    if db.execute(query, (name,)).fetchone()[0] < minimum:
        return
    query = "SELECT passage FROM pending WHERE follower = ? ORDER BY passage LIMIT ?"
    while pending := [number for (number,) in db.execute(query, (name, UPDATE_CHUNK))]:
        derived.write(pending, _pending_texts(db, name, pending[-1]))
        with db:
            db.execute(BEGIN)
            done = ((name, number) for number in pending)
            db.executemany("DELETE FROM pending WHERE follower = ? AND passage = ?", done)


def _pending_texts(db: sqlite3.Connection, name: str, last: int) -> Iterator[PassageText]:
    """Yield the pending passages with numbers up to ``last`` that still exist."""
    query = (
        "SELECT passage.id, subject, text, start, stop FROM pending"
        " JOIN passage ON passage.id = pending.passage JOIN document ON document.id = document"
        " WHERE follower = ? AND pending.passage <= ? ORDER BY passage.id"
    )
    for number, subject, text, start, stop in db.execute(query, (name, last)):
        yield number, subject, text[start:stop]
