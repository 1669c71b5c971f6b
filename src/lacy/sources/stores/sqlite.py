"""SQLite files: opened with ``mode=ro``, cut off by a progress handler."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lacy.errors import LacyError
from lacy.sources.stores.base import (
    SETUP_SECONDS,
    Catalogue,
    Reference,
    StoreError,
    first_line,
    late,
    quoted,
)

_STEPS_BETWEEN_CHECKS = 2_000
"""SQLite virtual-machine steps between two looks at the clock."""


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
        uri = f"file:{quote(str(path.resolve()))}?mode=ro"
        try:
            self._db = sqlite3.connect(uri, uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise LacyError("E66", path=path, why=str(error)) from error
        self._db.text_factory = lambda raw: raw.decode("utf-8", errors="replace")
        try:
            self._db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            self._db.close()
            raise LacyError("E66", path=path, why=str(error)) from error

    def catalogue(self) -> Catalogue:
        """Tables and views, in the order of their names."""
        query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
        tables: dict[str, dict[str, str]] = {}
        keys: dict[str, str] = {}
        found: list[tuple[str, Any]] = []
        for (name,) in self.rows(query):
            info = self.rows(f"PRAGMA table_info({quoted(name)})")
            tables[name] = {row[1]: str(row[2]) for row in info}
            primary = [row[1] for row in info if row[5]]
            if len(primary) == 1:
                keys[name] = primary[0]
            found += [(name, row) for row in self.rows(f"PRAGMA foreign_key_list({quoted(name)})")]
        # A key of several columns has several rows of one number.
        several = {(table, row[0]) for table, row in found if row[1] > 0}
        references = []
        for table, row in found:
            column = row[4] or keys.get(row[2])
            if (table, row[0]) not in several and column and row[2] in tables:
                references.append(Reference(table, row[3], row[2], column))
        return Catalogue(tables, keys, tuple(references))

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
                self._db.set_progress_handler(check, _STEPS_BETWEEN_CHECKS)
                return self._db.execute(query, tuple(values)).fetchall()
            except (sqlite3.Error, UnicodeError, OverflowError) as error:
                raise StoreError(late(seconds) if over else first_line(error)) from error

    def quoted(self, name: str) -> str:
        """A name in double quotes."""
        return quoted(name)

    def table(self, name: str) -> str:
        """A table in double quotes."""
        return quoted(name)

    def text(self, column: str) -> str:
        """The column itself: Python turns its values into text."""
        return column

    def interrupt(self) -> None:
        """Ends the query that runs."""
        with suppress(sqlite3.Error):  # closed
            self._db.interrupt()

    def close(self) -> None:
        """Ends the connection."""
        with self._lock:
            self._db.close()
