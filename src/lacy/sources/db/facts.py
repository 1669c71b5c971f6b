"""Query a database for all subjects, the facts of one subject, and the frequencies of values.

A ``Layout`` says which tables and columns contain the facts; it was checked against the database.
``FactReader`` turns it into queries. Names are quoted, values are bound, and nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lacy.sources.db.stores import SETUP_SECONDS, VIEW_SECONDS, Store, StoreError, timeout_message
from lacy.sources.db.values import Formatter, ValueKind, value_texts

_SPELLINGS_PER_QUERY = 100
"""Maximum number of spellings of one subject in a query."""

_MOST_NAMES = 2_000_000
"""Maximum number of names in a view; a view with more is probably endless."""

Fact = tuple[str, tuple[str, ...]]
"""A relation and the written forms of one value, the most common form first."""


@dataclass(frozen=True, slots=True)
class Join:
    """A join from an already joined table, given by its index, to the next table."""

    from_table: int
    column: str
    table: str
    to_column: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, given by its index: 0 is the subject's table, joined tables follow."""

    table: int
    name: str


@dataclass(frozen=True, slots=True)
class Relation:
    """The columns of one kind of fact.

    Args:
        name: the relation's name or, in a table of facts, the column with the name.
        values: columns with the written forms of one value.
        joins: the joins from the subject's table to these columns.
        formatter: converts a value to its written forms; None does not change it.
    """

    name: str | Column
    values: tuple[Column, ...]
    joins: tuple[Join, ...] = ()
    formatter: Formatter | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables and columns of subjects and their facts.

    Args:
        table: the subjects' table.
        subject: column of the subjects' names.
        key: column that identifies subjects; equal to ``subject`` if there is no other.
        relations: the kinds of facts.
        aliases: columns with other names, and the joins to them.
    """

    table: str
    subject: str
    key: str
    relations: tuple[Relation, ...]
    aliases: tuple[tuple[Column, tuple[Join, ...]], ...] = ()


class FactReader:
    """Reads facts from a store according to a layout.

    Args:
        store: an open database whose catalogue has been read.
        layout: the tables and columns of the facts.
        seconds: time limit of one query of ``facts_of``.
        views: the tables that are views; queries of a view may never end.
    """

    def __init__(
        self, store: Store, layout: Layout, seconds: float, views: Collection[str] = ()
    ) -> None:
        self.store, self.layout, self.seconds, self.views = store, layout, seconds, views
        key = self._sql(Column(0, layout.key))
        self._key = key if self.keyed else store.exact(key)
        grouped = groupby(layout.relations, key=_query_group(layout))
        self._groups = [tuple(found) for _, found in grouped]

    @property
    def keyed(self) -> bool:
        """True if subjects are identified by a key column instead of their name."""
        return self.layout.key != self.layout.subject

    def subjects(self) -> list[tuple[Any, str, str]]:
        """Return ``(key, main name or "", name)`` of all names, ordered by name.

        Without a key column, the key is the subject's name as stored.

        Raises:
            StoreError: the database cannot be read.
        """
        found: set[tuple[Any, str, str]] = set()
        own = Column(0, self.layout.subject)
        raw = self._sql(Column(0, self.layout.key))
        key = raw if self.keyed else self.store.text(raw)
        for column, joins in ((own, ()), *self.layout.aliases):
            name, kind = self._selected(column, joins)
            # Convert to text, because SQLite would otherwise use an index with an unknown
            # collation.
            present = self.store.text(self._sql(column))
            limit = f" LIMIT {_MOST_NAMES + 1}" if self._has_view(joins) else ""
            query = (
                f"SELECT DISTINCT {key}, {name} FROM {self._from(joins)}"
                f" WHERE {present} IS NOT NULL AND {key} IS NOT NULL{limit}"
            )
            rows = self._setup_rows(query, joins)
            if limit and len(rows) > _MOST_NAMES:
                raise StoreError(f"a view has more than {_MOST_NAMES:,} names; does it end?")
            for stored, value in rows:
                for text in value_texts(value, kind) if stored is not None else ():
                    owner = "" if self.keyed else text if column == own else _key_text(stored)
                    found.add((stored, owner, text))
        return sorted(found, key=lambda row: (row[2], str(row[0])))

    def facts_of(self, keys: Sequence[Any], limit: int) -> tuple[list[Fact], bool]:
        """Return at most ``limit`` facts of a subject, and True if there are more.

        Args:
            keys: the subject's key, or all spellings of its name.
            limit: maximum number of rows per query and of facts in total.

        Raises:
            StoreError: the database did not answer in time.
        """
        found: list[Fact] = []
        more = False
        for relations in self._groups:
            rows: list[tuple[Any, ...]] = []
            kinds: tuple[ValueKind, ...] = ()
            for start in range(0, len(keys), _SPELLINGS_PER_QUERY):
                some = keys[start : start + _SPELLINGS_PER_QUERY]
                query, kinds = self._query(relations, len(some))
                rows += self.store.rows(query, (*some, limit + 1), seconds=self.seconds)
            more = more or len(rows) > limit
            for row in rows[:limit]:
                found += _facts_in(relations, row, kinds)
        found = list(dict.fromkeys(found))
        return found[:limit], more or len(found) > limit

    def alternatives(self) -> dict[str, float]:
        """Return the effective number of values of each relation, ``2^entropy``.

        Raises:
            StoreError: the database cannot be read.
        """
        total: dict[str, int] = {}
        weighted: dict[str, float] = {}
        for relation in self.layout.relations:
            value = self._sql(relation.values[0])
            kind = "''" if isinstance(relation.name, str) else self._sql(relation.name)
            query = (
                f"SELECT kind, count, COUNT(*) FROM (SELECT {self.store.text(kind)} AS kind,"
                f" COUNT(*) AS count FROM {self._from(relation.joins)}"
                f" WHERE {value} IS NOT NULL"
                f" GROUP BY {self.store.text(kind)}, {self.store.text(value)}) AS counted"
                " GROUP BY kind, count"
            )
            for stored, count, times in self._setup_rows(query, relation.joins):
                name = relation.name if isinstance(relation.name, str) else _relation_name(stored)
                total[name] = total.get(name, 0) + count * times
                weighted[name] = weighted.get(name, 0.0) + times * count * math.log2(count)
        return {r: 2.0 ** (math.log2(n) - weighted[r] / n) for r, n in total.items()}

    def _query(
        self, relations: Sequence[Relation], spellings: int
    ) -> tuple[str, tuple[ValueKind, ...]]:
        """Return the query for relations with the same joins, and the kinds of its columns."""
        joins = relations[0].joins
        names = [relation.name for relation in relations if isinstance(relation.name, Column)]
        values = [column for relation in relations for column in relation.values]
        selected = [self._selected(column, joins) for column in (*names, *values)]
        any_value = " OR ".join(f"{self._sql(column)} IS NOT NULL" for column in values)
        placeholders = ", ".join([self.store.placeholder] * spellings)
        query = (
            f"SELECT {', '.join(sql for sql, _ in selected)} FROM {self._from(joins)}"
            f" WHERE {self._key} IN ({placeholders}) AND ({any_value})"
            f" LIMIT {self.store.placeholder}"
        )
        return query, tuple(kind for _, kind in selected)

    def _selected(self, column: Column, joins: Sequence[Join]) -> tuple[str, ValueKind]:
        """Return the SQL for a column's values and their kind."""
        found = self.store.column_query(self._tables(joins)[column.table], column.name)
        return found.expression(self._sql(column)), found.kind

    def _tables(self, joins: Sequence[Join]) -> list[str]:
        return [self.layout.table, *(join.table for join in joins)]

    def _has_view(self, joins: Sequence[Join]) -> bool:
        return any(table in self.views for table in self._tables(joins))

    def _setup_rows(self, query: str, joins: Sequence[Join]) -> list[tuple[Any, ...]]:
        """Run a query that reads whole tables; used when the database is opened."""
        if not self._has_view(joins):
            return self.store.rows(query, seconds=SETUP_SECONDS)
        try:
            return self.store.rows(query, seconds=VIEW_SECONDS)
        except StoreError as error:
            if str(error) != timeout_message(VIEW_SECONDS):
                raise
            why = f"{error}; it is a view, so store its rows in a table (if it ends at all)"
            raise StoreError(why) from error

    def _from(self, joins: Sequence[Join]) -> str:
        parts = [f"{self.store.table(self.layout.table)} AS t0"]
        for number, join in enumerate(joins, 1):
            left = self._sql(Column(join.from_table, join.column))
            right = self._sql(Column(number, join.to_column))
            parts.append(f"JOIN {self.store.table(join.table)} AS t{number} ON {left} = {right}")
        return " ".join(parts)

    def _sql(self, column: Column) -> str:
        return f"t{column.table}.{self.store.quoted(column.name)}"


def _query_group(layout: Layout) -> Callable[[Relation], Any]:
    """Return a key function; adjacent relations with equal keys share a query.

    The key is the relation's joins; a table of facts always has its own query.
    """
    own = {id(r): n for n, r in enumerate(layout.relations) if isinstance(r.name, Column)}
    return lambda relation: (relation.joins, own.get(id(relation), -1))


def _facts_in(
    relations: Sequence[Relation], row: Sequence[Any], kinds: Sequence[ValueKind]
) -> list[Fact]:
    """Return the facts in one row; every element of a list is a separate fact."""
    place, found = 0, []
    for relation in relations:
        name = relation.name
        if isinstance(name, Column):
            name, place = _relation_name(row[place], kinds[place]), place + 1
        end = place + len(relation.values)
        columns = [value_texts(v, k) for v, k in zip(row[place:end], kinds[place:end], strict=True)]
        place = end
        texts = [text for column in columns for text in column]
        is_list = any(len(column) > 1 for column in columns)
        for group in [[text] for text in texts] if is_list else [texts]:
            written = [relation.formatter(t) if relation.formatter else [t] for t in group]
            forms = dict.fromkeys(form for each in written for form in each if form.strip())
            if forms:
                found.append((name, tuple(forms)))
    return found


def _relation_name(value: Any, kind: ValueKind = "any") -> str:
    """Return the relation's name in a stored value, or ""."""
    return next(iter(value_texts(value, kind)), "")


def _key_text(key: Any) -> str:
    """Return a key as text; invalid UTF-8 bytes are replaced."""
    return key.decode("utf-8", errors="replace") if isinstance(key, bytes) else str(key)
