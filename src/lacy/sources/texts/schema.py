"""The SQLite file of an index: its tables and settings, and updates of the indexes derived from it.

A document is stored whole. Its passages are in a full-text index together with the subject of the
document, so that "She was born in ..." is found by the name as well. Only passages with a value are
stored.

A tantivy index and vectors are derived from the file. Whatever changes in the file is recorded as
pending in the same transaction, and applied to them later, some thousands of passages at a time. A
build that is killed leaves pending passages, with which the next one begins; applying one twice
changes nothing. Passage numbers are never reused, so that a derived index that is behind cannot
mean another passage.
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
"""``application_id`` and ``user_version`` of the file."""

SearchEngine = Literal["fts5", "tantivy"]
"""What searches the words: SQLite's full-text search, or the package tantivy."""

ENGINE, VECTORS = "engine", "vectors"
"""Keys of the settings; the derived indexes are called ``tantivy`` and ``vectors``."""

UPDATE_CHUNK = 20_000
"""Passages written to a derived index at a time."""

BEGIN = "BEGIN IMMEDIATE"

_TABLES = (resources.files(__package__) / "schema.sql").read_text(encoding="utf-8")


def create_tables(db: sqlite3.Connection, engine: SearchEngine) -> None:
    """Create the tables of a new index, in the caller's transaction."""
    for statement in filter(str.strip, _TABLES.replace("TOKENIZE", TOKENIZE).split(";")):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {_APPLICATION}")
    db.execute(f"PRAGMA user_version = {_VERSION}")
    db.execute("INSERT INTO setting VALUES (?, ?)", (ENGINE, engine))


def format_problem(db: sqlite3.Connection) -> str:
    """Return why an open file is not an index of this version; empty if it is one."""
    [application], [version] = (
        db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    if application != _APPLICATION:
        return "it is a database, but not an index of documents"
    return "" if version == _VERSION else f"it has version {version}, not {_VERSION}"


def index_settings(db: sqlite3.Connection) -> dict[str, str]:
    """Return an index's engine, and the name of its vectors if it has some."""
    return dict(db.execute("SELECT name, value FROM setting").fetchall())


def count_alternatives(db: sqlite3.Connection) -> dict[str, float]:
    """Return ``2^entropy`` of each kind's values; a value repeated for a subject counts once."""
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
"""A passage to be indexed: its number, the subject of its document, its text."""


class DerivedIndex(Protocol):
    """An index that is updated after the SQLite file."""

    def write(self, removed: Iterable[int], added: Iterable[PassageText]) -> None:
        """Remove passages if they exist, then add others, and write all to disk."""
        ...


def mark_pending(db: sqlite3.Connection, name: str, passages: Iterable[int]) -> None:
    """Record new, changed or removed passages, in the caller's transaction."""
    db.executemany("INSERT OR IGNORE INTO pending VALUES (?, ?)", ((name, p) for p in passages))


def mark_all_pending(db: sqlite3.Connection, name: str) -> None:
    """Record every passage for a new derived index, in the caller's transaction."""
    db.execute("INSERT OR IGNORE INTO pending SELECT ?, id FROM passage", (name,))


def update_derived(db: sqlite3.Connection, name: str, derived: DerivedIndex, minimum: int) -> None:
    """Apply all pending passages to a derived index, if there are at least ``minimum``."""
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
    """Yield the pending passages up to a number that (still) exist."""
    query = (
        "SELECT passage.id, subject, text, start, stop FROM pending"
        " JOIN passage ON passage.id = pending.passage JOIN document ON document.id = document"
        " WHERE follower = ? AND pending.passage <= ? ORDER BY passage.id"
    )
    for number, subject, text, start, stop in db.execute(query, (name, last)):
        yield number, subject, text[start:stop]
