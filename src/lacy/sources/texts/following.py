"""What stands beside an index's SQLite file and follows it: tantivy's words, vectors.

SQLite says what is true. Whatever changes there is noted as pending in the same transaction, and
done here some thousands of passages at a time; a note is removed when it is done. A build that is
killed leaves notes, and the next one begins with them; doing one twice changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Protocol

CHUNK = 20_000
"""Passages written at a time."""

_BEGIN = "BEGIN IMMEDIATE"

There = tuple[int, str, str]
"""A passage that is to be found: number, whom its text is about, its text."""


class Follower(Protocol):
    """Takes changes; when ``write`` returns they are on disk."""

    def write(self, gone: Iterable[int], there: Iterable[There]) -> None:
        """Removes passages that may be there, then adds others (some of them the same)."""
        ...


def note(db: sqlite3.Connection, name: str, passages: Iterable[int]) -> None:
    """Notes passages that are new, changed or gone; in the caller's transaction."""
    db.executemany("INSERT OR IGNORE INTO pending VALUES (?, ?)", ((name, p) for p in passages))


def note_all(db: sqlite3.Connection, name: str) -> None:
    """Notes every passage: somebody begins to follow; in the caller's transaction."""
    db.execute("INSERT OR IGNORE INTO pending SELECT ?, id FROM passage", (name,))


def waiting(db: sqlite3.Connection, name: str) -> int:
    """How many passages are noted."""
    query = "SELECT COUNT(*) FROM pending WHERE follower = ?"
    return int(db.execute(query, (name,)).fetchone()[0])


def catch_up(db: sqlite3.Connection, name: str, follower: Follower) -> None:
    """Does all that is noted."""
    query = "SELECT passage FROM pending WHERE follower = ? ORDER BY passage LIMIT ?"
    while noted := [number for (number,) in db.execute(query, (name, CHUNK))]:
        follower.write(noted, _there(db, name, noted[-1]))
        with db:
            db.execute(_BEGIN)
            gone = ((name, number) for number in noted)
            db.executemany("DELETE FROM pending WHERE follower = ? AND passage = ?", gone)


def _there(db: sqlite3.Connection, name: str, last: int) -> Iterator[There]:
    """The noted passages up to a number that (still) exist."""
    query = (
        "SELECT passage.id, subject, text, start, stop FROM pending"
        " JOIN passage ON passage.id = pending.passage JOIN document ON document.id = document"
        " WHERE follower = ? AND pending.passage <= ? ORDER BY passage.id"
    )
    for number, subject, text, start, stop in db.execute(query, (name, last)):
        yield number, subject, text[start:stop]
