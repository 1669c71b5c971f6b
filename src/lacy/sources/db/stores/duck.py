"""Read DuckDB files without access to other files; a timer interrupts slow queries."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lacy._require import require_package
from lacy._text import first_line
from lacy.errors import LacyError
from lacy.sources.db.stores.base import (
    SETUP_SECONDS,
    Catalogue,
    ColumnQuery,
    ForeignKey,
    Store,
    StoreError,
    quoted,
    timeout_message,
)
from lacy.sources.db.values import ValueKind

_CONFIG = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 1,  # look-ups are so short that waking more threads would cost time
    "lock_configuration": True,
}

_TYPES: dict[ValueKind, str] = {
    "bytes": "BLOB",
    "interval": "INTERVAL",
    "json": "JSON",
    "number": "BIGINT BIGNUM DECIMAL DOUBLE FLOAT HUGEINT INTEGER SMALLINT TINYINT UBIGINT UHUGEINT"
    " UINTEGER USMALLINT UTINYINT VARINT",
    "text": "BOOLEAN CHAR ENUM UUID VARCHAR",
    "time": "DATE TIME TIMESTAMP TIMESTAMPTZ TIMESTAMP_MS TIMESTAMP_NS TIMESTAMP_S TIMETZ",
}
"""Types with values that can be words of a text; structs, maps, unions and bit strings cannot."""
_KINDS: dict[str, ValueKind] = {
    name: kind for kind, names in _TYPES.items() for name in names.split()
}
_LIST = re.compile(r"(.*)\[\d*\]$", re.DOTALL)


class DuckDb(Store):
    """An existing DuckDB file, opened read-only.

    Raises:
        LacyError: E66, it cannot be read; E11, ``duckdb`` is not installed.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        duckdb = require_package("duckdb", "duckdb", "a DuckDB file")
        self._error: type[Exception] = duckdb.Error
        self.name, self.place = path.name, str(path)
        try:
            self._db = duckdb.connect(str(path), read_only=True, config=_CONFIG)
        except duckdb.Error as error:
            raise LacyError("E66", path=path, why=_open_problem(error)) from error

    def catalogue(self) -> Catalogue:
        """Return tables and views; names outside the schema main include their schema."""
        own = "WHERE NOT internal AND database_name = current_database()"
        tables: dict[str, dict[str, str]] = {}
        for schema, table, column, kind in self.rows(
            f"SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() {own}"
            " ORDER BY schema_name != 'main', schema_name, table_name, column_index"
        ):
            name = _full_name(schema, table)
            tables.setdefault(name, {})[column] = kind
            self._tables_sql[name] = f"{quoted(schema)}.{quoted(table)}"
        self._types = tables
        found = self.rows(f"SELECT schema_name, view_name FROM duckdb_views() {own}")
        views = frozenset(_full_name(schema, view) for schema, view in found) & tables.keys()
        keys: dict[str, str] = {}
        foreign_keys = []
        for schema, table, kind, columns, to, to_columns in self.rows(
            "SELECT schema_name, table_name, constraint_type, constraint_column_names,"
            " referenced_table, referenced_column_names FROM duckdb_constraints()"
            " WHERE database_name = current_database()"
        ):
            name = _full_name(schema, table)
            if kind == "PRIMARY KEY" and len(columns) == 1:
                keys[name] = columns[0]
            elif kind == "FOREIGN KEY" and len(columns) == 1:
                key = ForeignKey(name, columns[0], _full_name(schema, to), to_columns[0])
                foreign_keys.append(key)
        return Catalogue(tables, keys, tuple(foreign_keys), views, views)

    def rows(
        self, query: str, values: Sequence[Any] = (), *, seconds: float = SETUP_SECONDS
    ) -> list[tuple[Any, ...]]:
        """Return the result of one query; raise ``StoreError`` if it failed or took longer."""
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            self.interrupt()

        with self._lock:
            timer = threading.Timer(seconds, stop)
            timer.daemon = True
            timer.start()
            try:
                return self._db.execute(query, list(values)).fetchall()
            except (self._error, UnicodeError, RuntimeError) as error:
                why = timeout_message(seconds) if expired.is_set() else first_line(error)
                raise StoreError(why) from error
            finally:
                timer.cancel()

    def text(self, column: str) -> str:
        """Return SQL for the value as formatted by DuckDB: dates as ``1815-12-10``."""
        return f"CAST({column} AS VARCHAR) COLLATE C"

    def exact(self, column: str) -> str:
        """Return SQL for the value's text; a NOCASE column would equate Turkey and turkey."""
        return self.text(column)

    def column_query(self, table: str, column: str) -> ColumnQuery:
        """Query lists as lists of texts, bytes as bytes, and all else as formatted by DuckDB."""
        kind = self._types[table][column]
        element = _LIST.match(kind)
        if element and _LIST.match(element[1]):
            return ColumnQuery(kind="none")  # a list of lists has no text
        name = re.split(r"[ (]", element[1] if element else kind, maxsplit=1)[0].upper()
        if "WITH TIME ZONE" in kind:
            name = "TIMETZ"
        found = _KINDS.get(name, "none")
        if found in ("bytes", "none"):
            return ColumnQuery(kind=found)
        return ColumnQuery(f"CAST({{}} AS VARCHAR{'[]' if element else ''})", found)

    def interrupt(self) -> None:
        """Cancel the running query."""
        with suppress(self._error):
            self._db.interrupt()


def _full_name(schema: str, table: str) -> str:
    return table if schema == "main" else f"{schema}.{table}"


def _open_problem(error: BaseException) -> str:
    """Explain why a file cannot be opened, and what helps."""
    message = str(error)  # not only the first line: the process id follows a long path
    if "Conflicting lock" in message or "used by another process" in message:
        holder = re.search(r"\(PID (\d+)\)", message)
        who = f"process {holder[1]}" if holder else "another process"
        return f"{who} has it open for writing; end that, or give a copy of the file"
    return first_line(error)
