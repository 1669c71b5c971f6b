"""DuckDB files: opened read-only and shut off from other files, cut off by an interrupt."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lacy._text import first_line
from lacy.errors import LacyError
from lacy.sources.db.stores.base import (
    SETUP_SECONDS,
    Catalogue,
    Reading,
    Reference,
    StoreError,
    late,
    quoted,
)
from lacy.sources.db.values import Kind

_CONFIG = {
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "threads": 1,
    "lock_configuration": True,
}
"""One thread: a look-up is short, and waking others costs more than they bring."""

_KINDS: dict[str, Kind] = {
    "BLOB": "bytes", "BOOLEAN": "text", "CHAR": "text", "DATE": "time", "DECIMAL": "number",
    "DOUBLE": "number", "ENUM": "text", "FLOAT": "number", "BIGINT": "number",
    "HUGEINT": "number", "INTEGER": "number", "SMALLINT": "number", "TINYINT": "number",
    "UBIGINT": "number", "UHUGEINT": "number", "UINTEGER": "number", "USMALLINT": "number",
    "UTINYINT": "number", "BIGNUM": "number", "VARINT": "number", "INTERVAL": "span",
    "JSON": "json", "TIME": "time", "TIMESTAMP": "time", "TIMESTAMP_S": "time",
    "TIMESTAMP_MS": "time", "TIMESTAMP_NS": "time", "TIMETZ": "time", "TIMESTAMPTZ": "time",
    "UUID": "text", "VARCHAR": "text",
}  # fmt: skip
"""Types whose values can be words of a text, unlike structs, maps, unions and bit strings."""
_LIST = re.compile(r"(.*)\[\d*\]$", re.DOTALL)


class Duck:
    """An existing DuckDB file.

    Raises:
        LacyError: E66, it cannot be read; E11, ``duckdb`` is not installed.
    """

    blocking = True
    mark = "?"

    def __init__(self, path: Path) -> None:
        try:
            import duckdb
        except ModuleNotFoundError as error:
            raise LacyError(
                "E11", extra_for="a DuckDB file", package="duckdb", extra="duckdb"
            ) from error
        self._error: type[Exception] = duckdb.Error
        self.name, self.place = path.name, str(path)
        self._lock = threading.Lock()
        try:
            self._db = duckdb.connect(str(path), read_only=True, config=_CONFIG)
        except duckdb.Error as error:
            raise LacyError("E66", path=path, why=_why(error)) from error

    def catalogue(self) -> Catalogue:
        """Tables and views of the main schema by their names, others with their schema before."""
        found = self.rows(
            "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()"
            " WHERE NOT internal AND database_name = current_database()"
            " ORDER BY schema_name != 'main', schema_name, table_name, column_index"
        )
        tables: dict[str, dict[str, str]] = {}
        for schema, table, column, kind in found:
            name = table if schema == "main" else f"{schema}.{table}"
            tables.setdefault(name, {})[column] = kind
        self._types = tables
        self._homes = {
            (t if s == "main" else f"{s}.{t}"): f"{quoted(s)}.{quoted(t)}" for s, t, _, _ in found
        }
        found = self.rows(
            "SELECT schema_name, view_name FROM duckdb_views()"
            " WHERE NOT internal AND database_name = current_database()"
        )
        views = frozenset(
            view if schema == "main" else f"{schema}.{view}" for schema, view in found
        )
        keys: dict[str, str] = {}
        references = []
        constraints = self.rows(
            "SELECT schema_name, table_name, constraint_type, constraint_column_names,"
            " referenced_table, referenced_column_names FROM duckdb_constraints()"
            " WHERE database_name = current_database()"
        )
        for schema, table, kind, columns, to, to_columns in constraints:
            name = table if schema == "main" else f"{schema}.{table}"
            if kind == "PRIMARY KEY" and len(columns) == 1:
                keys[name] = columns[0]
            elif kind == "FOREIGN KEY" and len(columns) == 1:
                home = to if schema == "main" else f"{schema}.{to}"
                references.append(Reference(name, columns[0], home, to_columns[0]))
        views = views & tables.keys()
        return Catalogue(tables, keys, tuple(references), views, views)

    def rows(
        self, query: str, values: Sequence[Any] = (), *, seconds: float = SETUP_SECONDS
    ) -> list[tuple[Any, ...]]:
        """The answer to one query; ``StoreError`` if it failed or took longer."""
        over = threading.Event()

        def stop() -> None:
            over.set()
            self.interrupt()

        with self._lock:
            timer = threading.Timer(seconds, stop)
            timer.daemon = True
            timer.start()
            try:
                return self._db.execute(query, list(values)).fetchall()
            except (self._error, UnicodeError, RuntimeError) as error:
                raise StoreError(late(seconds) if over.is_set() else first_line(error)) from error
            finally:
                timer.cancel()

    def quoted(self, name: str) -> str:
        """A name in double quotes."""
        return quoted(name)

    def table(self, name: str) -> str:
        """A table of the catalogue with its schema."""
        return self._homes[name]

    def text(self, column: str) -> str:
        """The value as DuckDB writes it: dates as ``1815-12-10``."""
        return f"CAST({column} AS VARCHAR) COLLATE C"

    def compared(self, column: str) -> str:
        """Its text, letter by letter: a NOCASE column takes Turkey for turkey."""
        return self.text(column)

    def reading(self, table: str, column: str) -> Reading:
        """Lists become lists of texts, bytes stay bytes, all else is formatted by DuckDB."""
        return _reading(self._types[table][column])

    def interrupt(self) -> None:
        """Ends the query that runs."""
        with suppress(self._error):
            self._db.interrupt()

    def close(self) -> None:
        """Ends the connection."""
        with self._lock:
            self._db.close()


def _reading(kind: str) -> Reading:
    """How a column of this type is read."""
    element = _LIST.match(kind)
    if element and _LIST.match(element[1]):
        return Reading(kind="none")  # lists of lists
    name = re.split(r"[ (]", element[1] if element else kind, maxsplit=1)[0].upper()
    if "WITH TIME ZONE" in kind:
        name = "TIMETZ"
    found = _KINDS.get(name, "none")
    if found in ("bytes", "none"):
        return Reading(kind=found)
    return Reading(f"CAST({{}} AS VARCHAR{'[]' if element else ''})", found)


def _why(error: BaseException) -> str:
    """Why a file cannot be opened, in words that say what helps."""
    said = first_line(error)
    if "Conflicting lock" in said or "used by another process" in said:
        holder = re.search(r"\(PID (\d+)\)", said)
        who = f"process {holder[1]}" if holder else "another process"
        return f"{who} has it open for writing; end that, or give a copy of the file"
    return said
