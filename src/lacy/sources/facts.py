"""What a database source asks of a store: subjects, the facts of one, how often values occur.

A ``Layout`` says where facts stand, in tables and columns that were checked against the store's
catalogue; ``Facts`` makes queries of it. Names are quoted, values are bound, nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lacy.sources.stores import Store

Writer = Callable[[Any], list[str]]
"""A stored value in the ways in which texts write it; none where it is no value."""

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
        store: an open database whose catalogue was read.
        layout: where they stand.
        seconds: that one query of ``of`` may take.
    """

    def __init__(self, store: Store, layout: Layout, seconds: float) -> None:
        self.store, self.layout, self.seconds = store, layout, seconds
        self._key = self._column(Column(0, layout.key))
        self._groups = [
            (self._query(list(group)), group)
            for group in (
                tuple(found) for _, found in groupby(layout.relations, key=_together(layout))
            )
        ]

    @property
    def keyed(self) -> bool:
        """Whether subjects have a key beside their name."""
        return self.layout.key != self.layout.subject

    def subjects(self) -> list[tuple[Any, str]]:
        """Every (key, name); without a key both are the name.

        Raises:
            StoreError: the database cannot be read.
        """
        every = ((Column(0, self.layout.subject), ()), *self.layout.aliases)
        found: list[tuple[Any, str]] = []
        for column, joins in every:
            name = self._column(column)
            key = f"{self._key}, " if self.keyed else ""
            query = (
                f"SELECT DISTINCT {key}{self.store.text(name)} FROM {self._from(joins)}"
                f" WHERE {name} IS NOT NULL"
            )
            found += [(row[0], text_of(row[-1])) for row in self.store.rows(query)]
        return found

    def of(self, key: Any, limit: int) -> tuple[list[Fact], bool]:
        """At most ``limit`` facts of a subject, and whether there are more.

        Raises:
            StoreError: the database did not answer, or not in time.
        """
        found: list[Fact] = []
        cut = False
        for query, relations in self._groups:
            rows = self.store.rows(query, (key, limit + 1), seconds=self.seconds)
            cut = cut or len(rows) > limit
            for row in rows[:limit]:
                found += _facts(relations, row)
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
                f" WHERE {value} IS NOT NULL GROUP BY {self.store.text(kind)}, {value}) AS counted"
                " GROUP BY kind, count"
            )
            for named, count, times in self.store.rows(query):
                name = relation.name if isinstance(relation.name, str) else text_of(named or "")
                total[name] = total.get(name, 0) + count * times
                more = times * count * math.log2(count)
                weighted[name] = weighted.get(name, 0.0) + more
        return {r: 2.0 ** (math.log2(n) - weighted[r] / n) for r, n in total.items()}

    def _query(self, relations: Sequence[Relation]) -> str:
        """One query for relations that are reached in the same way."""
        named = [self.store.text(self._column(r.name)) for r in relations
                 if isinstance(r.name, Column)]  # fmt: skip
        columns = [self._column(column) for r in relations for column in r.values]
        shown = ", ".join([*named, *map(self.store.text, columns)])
        there = " OR ".join(f"{column} IS NOT NULL" for column in columns)
        mark = self.store.mark
        return (
            f"SELECT {shown} FROM {self._from(relations[0].joins)}"
            f" WHERE {self._key} = {mark} AND ({there}) LIMIT {mark}"
        )

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


def _facts(relations: Sequence[Relation], row: Sequence[Any]) -> list[Fact]:
    """The facts in one row of an answer."""
    place, found = 0, []
    for relation in relations:
        name = relation.name
        if isinstance(name, Column):
            name, place = text_of(row[place] or ""), place + 1
        stored = row[place : place + len(relation.values)]
        place += len(relation.values)
        write = relation.writer or as_it_stands
        ways = [way for value in stored if _is_text(value) for way in write(value)]
        ways = list(dict.fromkeys(way for way in ways if way.strip()))
        if ways:
            found.append((name, tuple(ways)))
    return found


def _is_text(value: Any) -> bool:
    """Whether a value can be said: NULL and bytes that are no UTF-8 (a picture) cannot."""
    if isinstance(value, bytes):
        try:
            value.decode()
        except UnicodeDecodeError:
            return False
    return value is not None


def as_it_stands(value: Any) -> list[str]:
    """A value as the database has it."""
    return [text_of(value)]


def text_of(value: Any) -> str:
    """A value as text; bytes that are no UTF-8 are replaced."""
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)
