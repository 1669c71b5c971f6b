"""What a database source asks of a store: subjects, the facts of one, how often values occur.

A ``Layout`` says where facts stand, in tables and columns that were checked against the store's
catalogue; ``Facts`` makes queries of it. Names are quoted, values are bound, nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lacy.sources.db.stores import SETUP_SECONDS, VIEW_SECONDS, Reading, Store, StoreError, late
from lacy.sources.db.values import Kind, said

Writer = Callable[[str], list[str]]
"""Returns the forms in which texts write a value; none if it cannot be said."""

_TOGETHER = 100
"""Most spellings of one subject in a query."""

_MOST_NAMES = 2_000_000
"""Most names in a view; an endless view has more."""

Fact = tuple[str, tuple[str, ...]]
"""A relation and the writings of one value, the usual one first."""


@dataclass(frozen=True, slots=True)
class Join:
    """One step from a table that was reached (by its number) to the next one."""

    at: int
    column: str
    table: str
    to_column: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table with this number: 0 is the subject's, others follow as joined."""

    at: int
    column: str


@dataclass(frozen=True, slots=True)
class Relation:
    """Where a kind of fact stands.

    Args:
        name: what it is called, or the column that says it (a table of facts).
        values: columns with the writings of one value.
        joins: the way to them from the subject's table.
        writer: how a value is written.
    """

    name: str | Column
    values: tuple[Column, ...]
    joins: tuple[Join, ...] = ()
    writer: Writer | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where subjects and their facts stand.

    Args:
        table: the subjects' table.
        subject: its column with their names.
        key: its column that tells subjects apart; the same as ``subject`` where only names do.
        relations: the kinds of fact.
        aliases: further names: a column and the joins to it.
    """

    table: str
    subject: str
    key: str
    relations: tuple[Relation, ...]
    aliases: tuple[tuple[Column, tuple[Join, ...]], ...] = ()


class Facts:
    """The facts of a layout in a store.

    Args:
        store: an open database whose catalogue has been read.
        layout: the tables and columns of the facts.
        seconds: time limit of one query of ``of``.
        views: the tables that are views, which may never end.
    """

    def __init__(
        self, store: Store, layout: Layout, seconds: float, views: Collection[str] = ()
    ) -> None:
        self.store, self.layout, self.seconds, self.views = store, layout, seconds, views
        key = self._column(Column(0, layout.key))
        self._key = key if self.keyed else store.compared(key)
        self._groups = [
            tuple(found) for _, found in groupby(layout.relations, key=_together(layout))
        ]

    @property
    def keyed(self) -> bool:
        """Whether subjects have a key beside their name."""
        return self.layout.key != self.layout.subject

    def subjects(self) -> list[tuple[Any, str, str]]:
        """Yields (key, name of the key's owner or "", name), ordered by name.

        Without a key column, the key is the subject's name as stored.

        Raises:
            StoreError: the database cannot be read.
        """
        found: set[tuple[Any, str, str]] = set()
        own = Column(0, self.layout.subject)
        raw = self._column(Column(0, self.layout.key))
        key = raw if self.keyed else self.store.text(raw)
        for column, joins in ((own, ()), *self.layout.aliases):
            name, kind = self._shown(column, joins)
            # As texts: SQLite would go by an index, whose collation may be unknown.
            there = self.store.text(self._column(column))
            limit = f" LIMIT {_MOST_NAMES + 1}" if self._views(joins) else ""
            query = (
                f"SELECT DISTINCT {key}, {name} FROM {self._from(joins)}"
                f" WHERE {there} IS NOT NULL AND {key} IS NOT NULL{limit}"
            )
            rows = self._counted(query, joins)
            if limit and len(rows) > _MOST_NAMES:
                raise StoreError(f"a view has more than {_MOST_NAMES:,} names; does it end?")
            for stored, value in rows:
                for one in said(value, kind) if stored is not None else ():
                    owner = "" if self.keyed else one if column == own else text_of(stored)
                    found.add((stored, owner, one))
        return sorted(found, key=lambda row: (row[2], str(row[0])))

    def of(self, keys: Sequence[Any], limit: int) -> tuple[list[Fact], bool]:
        """At most ``limit`` facts of a subject, and whether there are more.

        Args:
            keys: the subject's key, or all spellings of its name.
            limit: most rows of a query and facts in all.

        Raises:
            StoreError: the database did not answer, or not in time.
        """
        found: list[Fact] = []
        cut = False
        for relations in self._groups:
            rows: list[tuple[Any, ...]] = []
            kinds: tuple[Kind, ...] = ()
            for start in range(0, len(keys), _TOGETHER):
                some = keys[start : start + _TOGETHER]
                query, kinds = self._query(relations, len(some))
                rows += self.store.rows(query, (*some, limit + 1), seconds=self.seconds)
            cut = cut or len(rows) > limit
            for row in rows[:limit]:
                found += _facts(relations, row, kinds)
        found = list(dict.fromkeys(found))
        return found[:limit], cut or len(found) > limit

    def alternatives(self) -> dict[str, float]:
        """``2^entropy`` of each relation's values: how many values it takes, effectively.

        Raises:
            StoreError: the database cannot be read.
        """
        total: dict[str, int] = {}
        weighted: dict[str, float] = {}
        for relation in self.layout.relations:
            value = self._column(relation.values[0])
            kind = "''" if isinstance(relation.name, str) else self._column(relation.name)
            query = (
                f"SELECT kind, count, COUNT(*) FROM (SELECT {self.store.text(kind)} AS kind,"
                f" COUNT(*) AS count FROM {self._from(relation.joins)}"
                f" WHERE {value} IS NOT NULL"
                f" GROUP BY {self.store.text(kind)}, {self.store.text(value)}) AS counted"
                " GROUP BY kind, count"
            )
            rows = self._counted(query, relation.joins)
            for named, count, times in rows:
                name = relation.name if isinstance(relation.name, str) else _named(named)
                total[name] = total.get(name, 0) + count * times
                more = times * count * math.log2(count)
                weighted[name] = weighted.get(name, 0.0) + more
        return {r: 2.0 ** (math.log2(n) - weighted[r] / n) for r, n in total.items()}

    def _query(self, relations: Sequence[Relation], spellings: int) -> tuple[str, tuple[Kind, ...]]:
        """One query for relations with the same joins, and how its columns are read."""
        joins = relations[0].joins
        named = [self._shown(r.name, joins) for r in relations if isinstance(r.name, Column)]
        columns = [column for r in relations for column in r.values]
        shown = [*named, *(self._shown(column, joins) for column in columns)]
        there = " OR ".join(f"{self._column(column)} IS NOT NULL" for column in columns)
        mark = self.store.mark
        marks = ", ".join([mark] * spellings)
        query = (
            f"SELECT {', '.join(sql for sql, _ in shown)} FROM {self._from(joins)}"
            f" WHERE {self._key} IN ({marks}) AND ({there}) LIMIT {mark}"
        )
        return query, tuple(kind for _, kind in shown)

    def _shown(self, column: Column, joins: Sequence[Join]) -> tuple[str, Kind]:
        """The SQL for a column's values, and how they are read."""
        reading: Reading = self.store.reading(self._tables(joins)[column.at], column.column)
        return reading.of(self._column(column)), reading.kind

    def _tables(self, joins: Sequence[Join]) -> list[str]:
        return [self.layout.table, *(join.table for join in joins)]

    def _views(self, joins: Sequence[Join]) -> bool:
        return any(table in self.views for table in self._tables(joins))

    def _counted(self, query: str, joins: Sequence[Join]) -> list[tuple[Any, ...]]:
        """The result of a query that reads whole tables when the database is opened."""
        if not self._views(joins):
            return self.store.rows(query, seconds=SETUP_SECONDS)
        try:
            return self.store.rows(query, seconds=VIEW_SECONDS)
        except StoreError as error:
            why = f"{error}; it is a view: if it ends at all, store its rows in a table"
            raise StoreError(why if str(error) == late(VIEW_SECONDS) else str(error)) from error

    def _from(self, joins: Sequence[Join]) -> str:
        parts = [f"{self.store.table(self.layout.table)} AS t0"]
        for number, join in enumerate(joins, 1):
            left = self._column(Column(join.at, join.column))
            right = self._column(Column(number, join.to_column))
            parts.append(f"JOIN {self.store.table(join.table)} AS t{number} ON {left} = {right}")
        return " ".join(parts)

    def _column(self, column: Column) -> str:
        return f"t{column.at}.{self.store.quoted(column.column)}"


def _together(layout: Layout) -> Callable[[Relation], Any]:
    """Neighbouring relations with the same joins share a query; a table of facts has its own."""
    alone = {id(r): n for n, r in enumerate(layout.relations) if isinstance(r.name, Column)}
    return lambda relation: (relation.joins, alone.get(id(relation), -1))


def _facts(relations: Sequence[Relation], row: Sequence[Any], kinds: Sequence[Kind]) -> list[Fact]:
    """The facts in one row; each element of a list is a separate fact."""
    place, found = 0, []
    for relation in relations:
        name = relation.name
        if isinstance(name, Column):
            name, place = _named(row[place], kinds[place]), place + 1
        end = place + len(relation.values)
        columns = [said(v, k) for v, k in zip(row[place:end], kinds[place:end], strict=True)]
        place = end
        write = relation.writer or _as_it_stands
        several = any(len(values) > 1 for values in columns)
        words = [word for values in columns for word in values]
        for group in [[word] for word in words] if several else [words]:
            ways = dict.fromkeys(way for word in group for way in write(word) if way.strip())
            if ways:
                found.append((name, tuple(ways)))
    return found


def _named(value: Any, kind: Kind = "any") -> str:
    """The name of a relation from its column; "" if there is none."""
    return next(iter(said(value, kind)), "")


def _as_it_stands(value: str) -> list[str]:
    return [value]


def text_of(value: Any) -> str:
    """A key as text; bytes that are not UTF-8 are replaced."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)
