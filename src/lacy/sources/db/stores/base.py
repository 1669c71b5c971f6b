"""The interface of a store: a database that answers read-only queries and lists its tables."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lacy.sources.db.values import ValueKind

SETUP_SECONDS = 600.0
"""Time limit of one query while a database is opened: names are read, values counted."""

VIEW_SECONDS = 10.0
"""The same for queries of a view in a file, which may never end."""

VIEW_PROBE_SECONDS = 2.0
"""Time limit for a test if a view can be read at all."""


class StoreError(Exception):
    """Raised when a query failed or took too long; the message contains no password."""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key of one column."""

    table: str
    column: str
    to_table: str
    to_column: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The contents of a database.

    Args:
        tables: tables and views, with their columns and types.
        keys: primary keys of one column.
        foreign_keys: foreign keys of one column.
        views: tables that are views and may never end.
        unverified: tables whose reading may fail: views, and tables on other servers.
        unreadable: tables, views and columns that are left out, and why.
    """

    tables: dict[str, dict[str, str]]
    keys: dict[str, str] = field(default_factory=dict)
    foreign_keys: tuple[ForeignKey, ...] = ()
    views: frozenset[str] = frozenset()
    unverified: frozenset[str] = frozenset()
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnQuery:
    """How to query a column's values.

    Args:
        sql: an SQL expression in which ``{}`` is the column.
        kind: the form of a value in the result.
    """

    sql: str = "{}"
    kind: ValueKind = "any"

    def expression(self, column: str) -> str:
        """Return the SQL expression for one column."""
        return self.sql.replace("{}", column)


class Store:
    """A database that is only read.

    ``name`` is shown as the source of facts, ``place`` in messages (for a file its path); neither
    contains a password. ``blocking`` is true if a look-up may block its thread for long.
    """

    name: str
    place: str
    blocking = True
    placeholder = "?"
    """Stands for a bound value in SQL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._db: Any = None
        self._tables_sql: dict[str, str] = {}
        """Each table of the catalogue as SQL, with its schema."""

    def catalogue(self) -> Catalogue:
        """Return the tables, columns and keys.

        Raises:
            StoreError: the database cannot be read.
        """
        raise NotImplementedError

    def rows(
        self, query: str, values: Sequence[Any] = (), *, seconds: float = SETUP_SECONDS
    ) -> list[tuple[Any, ...]]:
        """Return the result of one query.

        Args:
            query: SQL in which every name was quoted by ``quoted`` or ``table``.
            values: the values for its placeholders.
            seconds: time limit.

        Raises:
            StoreError: the query failed or took longer.
        """
        raise NotImplementedError

    def quoted(self, name: str) -> str:
        """Return a name as SQL: in double quotes."""
        return quoted(name)

    def table(self, name: str) -> str:
        """Return a table of the catalogue as SQL, with its schema."""
        return self._tables_sql[name]

    def text(self, column: str) -> str:
        """Return SQL for a column's value as text, by which values are distinguished."""
        raise NotImplementedError

    def exact(self, column: str) -> str:
        """Return SQL that compares a column of names exactly, without a collation."""
        return column

    def column_query(self, table: str, column: str) -> ColumnQuery:
        """Return how the values of a column are queried."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """End the running query, from another thread."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection; later queries fail."""
        with self._lock:
            self._db.close()


def quoted(name: str) -> str:
    """Return a name in double quotes, as standard SQL requires."""
    return '"' + name.replace('"', '""') + '"'


def match_name(name: str, existing: Iterable[str]) -> str | None:
    """Return a name as the database spells it; case may differ if only one name matches."""
    known = list(existing)
    if name in known:
        return name
    similar = [other for other in known if other.casefold() == name.casefold()]
    return similar[0] if len(similar) == 1 else None


def timeout_message(seconds: float) -> str:
    """Return the message for a query that took too long."""
    return f"no answer within {seconds:g} s"
