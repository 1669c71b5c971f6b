"""Read SQLite files (``mode=ro``); a progress handler and a busy timeout enforce time limits."""

from __future__ import annotations

import os
import sqlite3
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
    ColumnQuery,
    ForeignKey,
    Store,
    StoreError,
    quoted,
    timeout_message,
)

_STEPS_BETWEEN_CHECKS = 2_000
"""SQLite virtual-machine steps between two checks of the time limit."""
_OPEN_SECONDS = 2.0
"""Seconds to wait while another process is writing."""
_MAX_BYTES = 64 * 2**20
"""Maximum bytes of a value or row; otherwise an untrusted file could exhaust the memory."""
_MAX_CHARACTERS = 10_000
"""Longer values are not read."""
_ERRORS = (sqlite3.Error, UnicodeError, OverflowError, ValueError, MemoryError)
"""Exceptions that a query of a damaged file may raise."""
_FIRST_QUERY = "SELECT COUNT(*) FROM sqlite_master"
_HIDDEN = 1
"""Code of a hidden column (of a virtual table) in ``table_xinfo``; 2 and 3 mean generated."""


class Sqlite(Store):
    """An existing SQLite file, opened read-only.

    Raises:
        LacyError: E66, it cannot be read.
    """

    blocking = False
    """False, because an indexed look-up takes less time than handing it to a thread."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.name, self.place = path.name, str(path)
        self._busy_seconds = 0.0
        try:
            self._db = open_read_only(path)
        except _ERRORS as error:
            raise LacyError("E66", path=path, why=_problem(error, path)) from error
        self._db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_BYTES)
        self._db.text_factory = _decode

    def catalogue(self) -> Catalogue:
        """Return tables and views, ordered by name."""
        query = "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
        tables: dict[str, dict[str, str]] = {}
        self._types = tables
        keys: dict[str, str] = {}
        foreign: list[tuple[str, Any]] = []
        unreadable: dict[str, str] = {}
        views = set()
        begin = time.perf_counter()
        for name, kind in self.rows(query):
            if not isinstance(name, str):
                unreadable[name.decode(errors="replace")] = "its name is not UTF-8"
                continue
            if kind == "view" and time.perf_counter() - begin > VIEW_SECONDS:
                unreadable[name] = timeout_message(VIEW_SECONDS)  # deeply nested views
                continue
            try:
                info = self.rows(f"PRAGMA table_xinfo({quoted(name)})")
                found = self.rows(f"PRAGMA foreign_key_list({quoted(name)})")
            except StoreError as error:  # a view of a dropped table, a missing module
                unreadable[name] = str(error)
                continue
            if not info:
                unreadable[name] = "this SQLite does not understand its definition"
                continue
            info = [row for row in info if row[6] != _HIDDEN and isinstance(row[1], str)]
            broken = self._broken_columns(name, [row[1] for row in info if row[6]])
            unreadable |= {f"{name}.{column}": why for column, why in broken.items()}
            info = [row for row in info if row[1] not in broken]
            tables[name] = {row[1]: str(row[2]) for row in info}
            self._tables_sql[name] = quoted(name)
            primary = [row[1] for row in info if row[5]]
            if len(primary) == 1:
                keys[name] = primary[0]
            if kind == "view":
                views.add(name)
            foreign += [(name, row) for row in found]
        # A composite key has several rows with the same number.
        composite = {(table, row[0]) for table, row in foreign if row[1] > 0}
        foreign_keys = []
        for table, row in foreign:
            column = row[4] or keys.get(row[2])
            exists = row[2] in tables and column in tables[row[2]] and row[3] in tables[table]
            if (table, row[0]) not in composite and column and exists:
                foreign_keys.append(ForeignKey(table, row[3], row[2], column))
        unverified = frozenset(views)
        return Catalogue(tables, keys, tuple(foreign_keys), unverified, unverified, unreadable)

    def _broken_columns(self, table: str, columns: Sequence[str]) -> dict[str, str]:
        """Map each generated column that this SQLite cannot compute to its error message."""
        broken = {}
        for column in columns:
            try:
                self.rows(f"SELECT {quoted(column)} FROM {quoted(table)} LIMIT 0")
            except StoreError as error:
                broken[column] = str(error)
        return broken

    def rows(
        self, query: str, values: Sequence[Any] = (), *, seconds: float = SETUP_SECONDS
    ) -> list[tuple[Any, ...]]:
        """Run one query and return its rows; raise ``StoreError`` if it fails or takes too long."""
        end = time.perf_counter() + seconds
        expired = False

        def check() -> int:
            nonlocal expired
            expired = time.perf_counter() > end
            return int(expired)

        with self._lock:
            try:
                if (
                    self._busy_seconds != seconds
                ):  # the progress handler is not called while waiting
                    self._db.execute(f"PRAGMA busy_timeout = {max(1, int(1000 * seconds))}")
                    self._busy_seconds = seconds
                self._db.set_progress_handler(check, _STEPS_BETWEEN_CHECKS)
                return self._db.execute(query, tuple(values)).fetchall()
            except _ERRORS as error:
                why = timeout_message(seconds) if expired else _problem(error)
                raise StoreError(why) from error

    def text(self, column: str) -> str:
        """Return SQL for the column without very long values."""
        return f"CASE WHEN length({column}) <= {_MAX_CHARACTERS} THEN {column} END"

    def exact(self, column: str) -> str:
        """Return SQL that compares bytes; a NOCASE column would equate Turkey and turkey."""
        return f"{column} COLLATE BINARY"

    def column_query(self, table: str, column: str) -> ColumnQuery:
        """Query the values as SQLite stores them; JSON is recognized by the declared type."""
        kind = self._types.get(table, {}).get(column, "")
        return ColumnQuery(self.text("{}"), "json" if "JSON" in kind.upper() else "any")

    def interrupt(self) -> None:
        """End the running query."""
        with suppress(sqlite3.Error):  # already closed
            self._db.interrupt()


def _decode(raw: bytes) -> str | bytes:
    """Decode a text; return its bytes if they are not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def open_read_only(path: Path, seconds: float = _OPEN_SECONDS) -> sqlite3.Connection:
    """Return a tested read-only connection; wait for a writer if needed.

    A database in WAL mode needs an index file in its folder. If that cannot be created and there is
    no log to read, the file is opened as immutable.
    """
    uri = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        return _connect(uri, seconds)
    except sqlite3.OperationalError as error:
        if "locked" in str(error) or os.access(path.resolve().parent, os.W_OK) or _has_log(path):
            raise
        return _connect(f"{uri}&immutable=1", seconds)


def _connect(uri: str, seconds: float) -> sqlite3.Connection:
    db = sqlite3.connect(uri, seconds, uri=True, check_same_thread=False)
    try:
        try:
            db.execute(_FIRST_QUERY).fetchone()
        except sqlite3.DatabaseError as error:
            if "malformed database schema" not in str(error):
                raise
            # Tolerate schema entries of other SQLite versions. Harmless: the file is read-only.
            db.execute("PRAGMA writable_schema = ON")
            db.execute(_FIRST_QUERY).fetchone()
    except _ERRORS:
        db.close()
        raise
    return db


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _problem(error: BaseException, path: Path | None = None) -> str:
    """Explain what went wrong, and what helps."""
    why = first_line(error)
    if isinstance(error, MemoryError):
        why = "not enough memory"
    elif isinstance(error, UnicodeError):  # SQLite's message contains damaged text of the file
        why = "database disk image is malformed"
    if "locked" in why:
        return "another process is writing it; try again when it has finished, or use a copy"
    if path is not None and "unable to open" in why and _has_log(path):
        return f"its last changes are in {path.name}-wal; copy both files to a writable folder"
    return why
