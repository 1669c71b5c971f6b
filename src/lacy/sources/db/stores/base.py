"""Define the interface of a store: a database that answers read-only queries."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from lacy.sources.db.values import ValueKind

SETUP_SECONDS = 600.0
"""Time limit of one query while a database is opened, when names are read and values counted."""

VIEW_SECONDS = 10.0
"""The same for queries of a view in a file, because a view may never end."""

VIEW_PROBE_SECONDS = 2.0
"""Time limit for testing that a view can be read at all."""


class StoreError(Exception):
    """Raised when a query fails or takes too long; the message contains no password."""


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
        views: names of views; a query of a view may never end.
        unverified: names of tables that may be unreadable: views, and tables on other servers.
        unreadable: tables, views and columns that are excluded, with the reason.
    """

    tables: dict[str, dict[str, str]]
    keys: dict[str, str] = field(default_factory=dict)
    foreign_keys: tuple[ForeignKey, ...] = ()
    views: frozenset[str] = frozenset()
    unverified: frozenset[str] = frozenset()
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ColumnQuery:
    """How to query the values of a column.

    Args:
        sql: an SQL expression; ``{}`` stands for the column.
        kind: the form of a value in the result.
    """

    sql: str = "{}"
    kind: ValueKind = "any"

    def expression(self, column: str) -> str:
        """Return the SQL expression for a column."""
        return self.sql.replace("{}", column)


class Store:
    """A database with read-only access.

    ``name`` is shown as the source of facts; ``place`` (for a file, its path) is shown in messages.
    Neither contains a password. ``blocking`` is True if a look-up may block its thread for long.
    """

    name: str
    place: str
    blocking = True
    placeholder = "?"
    """Placeholder of a bound value in SQL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._db: Any = None
        self._tables_sql: dict[str, str] = {}
        """SQL for each table of the catalogue, with its schema."""

    def catalogue(self) -> Catalogue:
        """Return the tables, columns and keys.

        Raises:
            StoreError: the database cannot be read.
        """
        raise NotImplementedError

    def rows(
        self, query: str, values: Sequence[Any] = (), *, seconds: float = SETUP_SECONDS
    ) -> list[tuple[Any, ...]]:
        """Run one query and return its rows.

        Args:
            query: SQL with all names quoted by ``quoted`` or ``table``.
            values: values of the placeholders.
            seconds: time limit.

        Raises:
            StoreError: the query failed or took too long.
        """
        raise NotImplementedError

    def quoted(self, name: str) -> str:
        """Return SQL for a name: in double quotes."""
        return quoted(name)

    def table(self, name: str) -> str:
        """Return SQL for a table of the catalogue, with its schema."""
        return self._tables_sql[name]

    def text(self, column: str) -> str:
        """Return SQL for a column's value as text; equal texts count as the same value."""
        raise NotImplementedError

    def exact(self, column: str) -> str:
        """Return SQL for a column of names that is compared exactly, without a collation."""
        return column

    def column_query(self, table: str, column: str) -> ColumnQuery:
        """Return how to query the values of a column."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Cancel the running query; called from another thread."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection; later queries fail."""
        with self._lock:
            self._db.close()


def quoted(name: str) -> str:
    """Return a name in double quotes, as standard SQL requires."""
    return '"' + name.replace('"', '""') + '"'


def match_name(name: str, existing: Iterable[str]) -> str | None:
    """Return the database's spelling of a name; case is ignored if only one name matches."""
    known = list(existing)
    if name in known:
        return name
    similar = [other for other in known if other.casefold() == name.casefold()]
    return similar[0] if len(similar) == 1 else None


def timeout_message(seconds: float) -> str:
    """Return the message for a query that took too long."""
    return f"no answer within {seconds:g} s"
