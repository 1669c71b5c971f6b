"""What a store is: a database that answers queries with bound values and tells what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lacy.sources.db.values import Kind

SETUP_SECONDS = 600.0
"""Seconds that one query may take while a database is opened: names are read, values counted."""

VIEW_SECONDS = 10.0
"""The same if the query reads a view in a file: a view from elsewhere may never end."""

PROBE_SECONDS = 2.0
"""Seconds for a test whether a view can be read at all."""


class StoreError(Exception):
    """A query failed or took too long; its text names no password."""


@dataclass(frozen=True, slots=True)
class Reference:
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
        references: foreign keys.
        views: tables that are views, whose reading may never end.
        doubtful: tables whose reading may fail: views, tables on other servers.
        unreadable: tables and views that are left out, and why.
    """

    tables: dict[str, dict[str, str]]
    keys: dict[str, str] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    views: frozenset[str] = frozenset()
    doubtful: frozenset[str] = frozenset()
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """How a column's values are queried.

    Args:
        sql: an SQL expression in which ``{}`` is the column.
        kind: the form of a value in the result (``lacy.sources.db.values``).
    """

    sql: str = "{}"
    kind: Kind = "any"

    def of(self, column: str) -> str:
        """The SQL expression for one column."""
        return self.sql.replace("{}", column)


class Store(Protocol):
    """A database that is only ever read.

    ``name`` is what it is called beside its facts, ``place`` what messages call it (for a file its
    path); neither names a password. ``blocking`` says that a look-up may hold up its thread for
    long, and ``mark`` is what stands for a bound value.
    """

    name: str
    place: str
    blocking: bool
    mark: str

    def catalogue(self) -> Catalogue:
        """What there is.

        Raises:
            StoreError: it cannot be read.
        """
        ...

    def rows(
        self, query: str, values: Sequence[Any] = (), *, seconds: float = SETUP_SECONDS
    ) -> list[tuple[Any, ...]]:
        """The answer to one query.

        Args:
            query: SQL in which every name was quoted by ``quoted`` or ``table``.
            values: what is bound to its marks.
            seconds: how long it may take.

        Raises:
            StoreError: it failed, or took longer.
        """
        ...

    def quoted(self, name: str) -> str:
        """A name as it stands in SQL."""
        ...

    def table(self, name: str) -> str:
        """A table of the catalogue as it stands in SQL, with its schema."""
        ...

    def text(self, column: str) -> str:
        """SQL for a column's value as text, by which values are distinguished."""
        ...

    def compared(self, column: str) -> str:
        """SQL by which a column of names is compared: letter by letter, by no collation."""
        ...

    def reading(self, table: str, column: str) -> Reading:
        """How the values of a column are read."""
        ...

    def interrupt(self) -> None:
        """Ends the query that runs, from another thread."""
        ...

    def close(self) -> None:
        """Ends the connection; queries fail from then on."""
        ...


def quoted(name: str) -> str:
    """A name in double quotes, as standard SQL wants it."""
    return '"' + name.replace('"', '""') + '"'


def spelled(name: str, there: Iterable[str]) -> str | None:
    """A name as the database spells it; case may differ if only one name matches."""
    known = list(there)
    if name in known:
        return name
    alike = [other for other in known if other.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def late(seconds: float) -> str:
    """What is said of a query that took too long."""
    return f"no answer within {seconds:g} s"
