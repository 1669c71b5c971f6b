"""SQLite files: opened with ``mode=ro``, cut off by a progress handler and a limit on waiting."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.sources.db.stores.base import (
    SETUP_SECONDS,
    VIEW_SECONDS,
    Catalogue,
    Reading,
    Reference,
    StoreError,
    late,
    quoted,
)

_STEPS_BETWEEN_CHECKS = 2_000
"""SQLite virtual-machine steps between two looks at the clock."""
_OPEN_SECONDS = 2.0
"""Seconds for which opening waits for another process that writes."""
_LONGEST = 64 * 2**20
"""Largest value or row in bytes; a file from elsewhere could otherwise exhaust the memory."""
_LONGEST_READ = 10_000
"""Characters above which a value is not read."""
_FAULTS = (sqlite3.Error, UnicodeError, OverflowError, ValueError, MemoryError)
"""Errors that a query of a damaged file may raise."""
_FIRST = "SELECT COUNT(*) FROM sqlite_master"
_HIDDEN = 1
"""How ``table_xinfo`` marks a virtual table's hidden column; 2 and 3 are generated ones."""


class Sqlite:
    """An existing SQLite file.

    Raises:
        LacyError: E66, it cannot be read.
    """

    blocking = False
    """A look-up by an index takes less than handing it to a thread."""
    mark = "?"

    def __init__(self, path: Path) -> None:
        self.name, self.place = path.name, str(path)
        self._lock = threading.Lock()
        self._patience = 0.0
        try:
            self._db = read_only(path)
        except _FAULTS as error:
            raise LacyError("E66", path=path, why=_why(error, path)) from error
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
        self._db.text_factory = _decoded

    def catalogue(self) -> Catalogue:
        """Tables and views, in the order of their names."""
        query = "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
        tables: dict[str, dict[str, str]] = {}
        self._types = tables
        keys: dict[str, str] = {}
        found: list[tuple[str, Any]] = []
        unreadable: dict[str, str] = {}
        views = set()
        begin = time.perf_counter()
        for name, kind in self.rows(query):
            if not isinstance(name, str):
                unreadable[name.decode(errors="replace")] = "its name is not UTF-8"
                continue
            if kind == "view" and time.perf_counter() - begin > VIEW_SECONDS:
                unreadable[name] = late(VIEW_SECONDS)  # views of views of views
                continue
            try:
                info = self.rows(f"PRAGMA table_xinfo({quoted(name)})")
                foreign = self.rows(f"PRAGMA foreign_key_list({quoted(name)})")
            except StoreError as error:  # a view of a dropped table, a missing module
                unreadable[name] = str(error)
                continue
            if not info:
                unreadable[name] = "this SQLite does not understand its definition"
                continue
            info = [row for row in info if row[6] != _HIDDEN and isinstance(row[1], str)]
            lost = self._not_computed(name, [row[1] for row in info if row[6]])
            unreadable |= {f"{name}.{column}": why for column, why in lost.items()}
            info = [row for row in info if row[1] not in lost]
            tables[name] = {row[1]: str(row[2]) for row in info}
            primary = [row[1] for row in info if row[5]]
            if len(primary) == 1:
                keys[name] = primary[0]
            if kind == "view":
                views.add(name)
            found += [(name, row) for row in foreign]
        # A key of several columns has several rows of one number.
        several = {(table, row[0]) for table, row in found if row[1] > 0}
        references = []
        for table, row in found:
            column = row[4] or keys.get(row[2])
            there = row[2] in tables and column in tables[row[2]] and row[3] in tables[table]
            if (table, row[0]) not in several and column and there:
                references.append(Reference(table, row[3], row[2], column))
        seen = frozenset(views)
        return Catalogue(tables, keys, tuple(references), seen, seen, unreadable)

    def _not_computed(self, table: str, columns: Sequence[str]) -> dict[str, str]:
        """Generated columns by a function that this SQLite does not have, and what it says."""
        lost = {}
        for column in columns:
            try:
                self.rows(f"SELECT {quoted(column)} FROM {quoted(table)} LIMIT 0")
            except StoreError as error:
                lost[column] = str(error)
        return lost

    def rows(
        self, query: str, values: Sequence[Any] = (), *, seconds: float = SETUP_SECONDS
    ) -> list[tuple[Any, ...]]:
        """The answer to one query; ``StoreError`` if it failed or took longer."""
        end = time.perf_counter() + seconds
        over = False

        def check() -> int:
            nonlocal over
            over = time.perf_counter() > end
            return int(over)

        with self._lock:
            try:
                if self._patience != seconds:  # while it waits for a lock, no handler is asked
                    self._db.execute(f"PRAGMA busy_timeout = {max(1, int(1000 * seconds))}")
                    self._patience = seconds
                self._db.set_progress_handler(check, _STEPS_BETWEEN_CHECKS)
                return self._db.execute(query, tuple(values)).fetchall()
            except _FAULTS as error:
                why = late(seconds) if over else _why(error)
                raise StoreError(why) from error

    def quoted(self, name: str) -> str:
        """A name in double quotes."""
        return quoted(name)

    def table(self, name: str) -> str:
        """A table in double quotes."""
        return quoted(name)

    def text(self, column: str) -> str:
        """The column itself, without very long values, so that all values can be compared."""
        return f"CASE WHEN length({column}) <= {_LONGEST_READ} THEN {column} END"

    def compared(self, column: str) -> str:
        """Bytes are compared: a NOCASE column takes Turkey for turkey, and others are unknown."""
        return f"{column} COLLATE BINARY"

    def reading(self, table: str, column: str) -> Reading:
        """As ``text``: Python turns values into words; JSON is known by the declared type."""
        kind = self._types.get(table, {}).get(column, "")
        return Reading(self.text("{}"), "json" if "JSON" in kind.upper() else "any")

    def interrupt(self) -> None:
        """Ends the query that runs."""
        with suppress(sqlite3.Error):  # closed
            self._db.interrupt()

    def close(self) -> None:
        """Ends the connection."""
        with self._lock:
            self._db.close()


def _decoded(raw: bytes) -> str | bytes:
    """A text, or its bytes if they are not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def read_only(path: Path, seconds: float = _OPEN_SECONDS) -> sqlite3.Connection:
    """A read-only connection that has been used once; it waits for a writer so long.

    A database with a write-ahead log needs a file beside it; where none can be made, and no log is
    left to be read, it is taken as a file that nobody writes.
    """
    uri = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        return _used(uri, seconds)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or not _alone(path):
            raise
        return _used(f"{uri}&immutable=1", seconds)


def _used(uri: str, seconds: float) -> sqlite3.Connection:
    db = sqlite3.connect(uri, seconds, uri=True, check_same_thread=False)
    try:
        try:
            db.execute(_FIRST).fetchone()
        except sqlite3.DatabaseError as error:
            if "malformed database schema" not in str(error):
                raise
            # Skip an entry made for another SQLite version. The file is read-only.
            db.execute("PRAGMA writable_schema = ON")
            db.execute(_FIRST).fetchone()
    except _FAULTS:
        db.close()
        raise
    return db


def _alone(path: Path) -> bool:
    """Whether a file stands in a folder that may not be written, without a log beside it."""
    return not os.access(path.resolve().parent, os.W_OK) and not _log(path)


def _log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _why(error: BaseException, path: Path | None = None) -> str:
    """What went wrong, in words that say what helps."""
    said = first_line(error)
    if isinstance(error, MemoryError):
        said = "not enough memory"
    elif isinstance(error, UnicodeError):  # SQLite's message about a damaged file quotes it
        said = "database disk image is malformed"
    if "locked" in said:
        return "another process is writing it; try again when it is done, or give a copy"
    if path is not None and "unable to open" in said and _log(path):
        return f"its last changes stand in {path.name}-wal; copy both to where you may write"
    return said
