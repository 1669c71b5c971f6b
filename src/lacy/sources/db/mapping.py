"""Read a mapping file, which says which columns of an existing database contain facts.

    database: people.duckdb            # path relative to this file, or postgresql://user@host/name
    subject: person.name               # the subjects of facts
    aliases: [person.pen_name]         # columns with other names
    relations:
      birth date: {value: person.born, date: "%-d %B %Y"}
      birth place: {value: city.name, join: [person.city_id = city.id]}
      award:
        value: award.title
        join: [person.id = won.person_id, won.award_id = award.id]
    facts: {relation: claim.kind, value: claim.text, join: [person.id = claim.person_id]}

``TABLE.COLUMN`` names a column. Each join leads from a table that is already joined (at first only
the subject's table) to the next one. A list of values, or of date patterns, means several written
forms of the same value. The mapping is checked against the database before any fact is read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lacy.config import read_yaml
from lacy.errors import LacyError
from lacy.sources.db.facts import Column, Join, Layout, Relation
from lacy.sources.db.stores import Catalogue, hide_credentials, is_postgres_url, is_url, match_name
from lacy.sources.db.values import (
    Formatter,
    date_pattern_problem,
    make_formatter,
    number_pattern_problem,
)

TOP_KEYS = ("database", "subject", "key", "aliases", "relations", "facts")
ENTRY_KEYS = ("value", "join", "date", "number", "text")


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Return the content of a mapping file.

    Raises:
        LacyError: E13, no such file; E95, it is not a mapping.
    """
    try:
        content, _ = read_yaml(path)
    except LacyError as error:
        if error.code != "E15":
            raise
        why = hide_credentials(error.values["why"])  # an address may contain a password
        raise LacyError("E95", path=path, count=1, problems=f"\n  - {why}") from None
    problems = [_unknown(str(key), TOP_KEYS, "") for key in content if key not in TOP_KEYS]
    if not isinstance(content.get("database"), str):
        problems.append("database: name the file, or postgresql://user@host/name")
    if "relations" not in content and "facts" not in content:
        problems.append("relations: missing")
    _raise_problems(path, problems)
    return content


def database_of(content: Mapping[str, Any], path: str | Path) -> str | Path:
    """Return the database in a mapping: an address, or a path resolved relative to the mapping."""
    name: str = content["database"]
    is_address = is_postgres_url(name) or is_url(name)
    return name if is_address else Path(path).parent / name


def layout_of(content: Mapping[str, Any], catalogue: Catalogue, path: str | Path) -> Layout:
    """Return the layout described by a mapping, checked against the database.

    Raises:
        LacyError: E95, lists all problems with their entries and what exists instead.
    """
    builder = _LayoutBuilder(catalogue)
    layout = builder.layout(content)
    _raise_problems(path, builder.problems)
    assert layout is not None  # it is None only if there was a problem
    return layout


def _raise_problems(path: str | Path, problems: Sequence[str]) -> None:
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise LacyError("E95", path=path, count=len(problems), problems=listed)


def _unknown(name: str, known: Sequence[str], where: str) -> str:
    entry = f"{where}{name}" if where else name
    return f"{entry}: there is no such entry{_suggestion(name, known)}"


def _suggestion(name: str, known: Sequence[str]) -> str:
    """Return close matches, or else all existing names."""
    close = difflib.get_close_matches(name, known, 3, 0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"; there is: {shown or 'nothing'}"


def _problem(check: Callable[[str], str], pattern: Any) -> str:
    return check(pattern) if isinstance(pattern, str) else "write a pattern in quotes"


class _InvalidEntry(Exception):
    """Raised when an entry cannot be used; the message says why."""


class _LayoutBuilder:
    """Builds a layout from a mapping and collects all problems."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.tables = catalogue.tables
        self.catalogue = catalogue
        self.problems: list[str] = []
        self.root = ""

    @contextmanager
    def _collect_problem(self, where: str) -> Iterator[None]:
        """Record an invalid entry and continue, so that all problems are reported together."""
        try:
            yield
        except _InvalidEntry as error:
            self.problems.append(f"{where}: {error}")

    def layout(self, content: Mapping[str, Any]) -> Layout | None:
        """Return the layout, or None if the subject column cannot be used."""
        with self._collect_problem("subject"):
            self.root, subject = self._split(content.get("subject"))
        if self.problems:
            return None
        key = self._key(content, subject)
        aliases = []
        for number, alias in enumerate(_as_list(content.get("aliases") or []), 1):
            found = self._entry(f"aliases, entry {number}", alias, ("value", "join"))
            aliases += [(column, found.joins) for column in found.values] if found else []
        relations = self._relations(content)
        if "facts" in content:
            found = self._facts(content["facts"])
            relations += [found] if found else []
        # Adjacent relations with the same joins share a query.
        order = {joins: n for n, joins in enumerate(dict.fromkeys(r.joins for r in relations))}
        relations.sort(key=lambda relation: order[relation.joins])
        return Layout(self.root, subject, key, tuple(relations), tuple(aliases))

    def _key(self, content: Mapping[str, Any], subject: str) -> str:
        """Return the column that identifies subjects: ``key``, the primary key, or the name."""
        if "key" not in content:
            # In a table of facts, the primary key identifies facts, not subjects.
            facts = content.get("facts")
            own = isinstance(facts, Mapping) and not facts.get("join")
            return subject if own else self.catalogue.keys.get(self.root, subject)
        column = subject
        with self._collect_problem("key"):
            table, column = self._split(content["key"])
            if table != self.root:
                raise _InvalidEntry(f"it must be a column of {self.root}, the subject's table")
        return column

    def _relations(self, content: Mapping[str, Any]) -> list[Relation]:
        named = content.get("relations") or {}
        if not isinstance(named, Mapping):
            self.problems.append("relations: write `name: TABLE.COLUMN` lines")
            return []
        entries = (
            (name, self._entry(f"relations, {name}", e, ENTRY_KEYS)) for name, e in named.items()
        )
        return [replace(relation, name=name) for name, relation in entries if relation]

    def _facts(self, entry: Any) -> Relation | None:
        if not isinstance(entry, Mapping) or "relation" not in entry:
            self.problems.append("facts: write {relation: TABLE.COLUMN, value: TABLE.COLUMN}")
            return None
        rest = {k: v for k, v in entry.items() if k != "relation"}
        found = self._entry("facts", rest, ENTRY_KEYS)
        name: Column | None = None
        with self._collect_problem("facts, relation"):
            name = self._column(entry["relation"], self._reached(found.joins if found else ()))
        return replace(found, name=name) if found and name else None

    def _entry(self, where: str, entry: Any, known: Sequence[str]) -> Relation | None:
        """Return the relation in an entry without its name, or None if there is a problem."""
        if isinstance(entry, str | list):
            entry = {"value": entry}
        if not isinstance(entry, Mapping):
            self.problems.append(f"{where}: write TABLE.COLUMN, or {{value: TABLE.COLUMN, …}}")
            return None
        before = len(self.problems)
        self.problems += [_unknown(str(k), known, f"{where}, ") for k in entry if k not in known]
        joins: tuple[Join, ...] | None = None
        with self._collect_problem(f"{where}, join"):
            joins = self._joins(entry.get("join") or [])
        if joins is None:
            return None
        values = []
        for one in _as_list(entry.get("value")) or [[]]:
            with self._collect_problem(f"{where}, value"):
                values.append(self._column(one, self._reached(joins)))
        formatter = self._formatter(where, entry)
        if len(self.problems) > before:
            return None
        return Relation("", tuple(values), joins, formatter)

    def _formatter(self, where: str, entry: Mapping[str, Any]) -> Formatter | None:
        """Return the formatter of an entry, or None if it has none."""
        if not {"date", "number", "text"} & set(entry):
            return None
        dates = _as_list(entry.get("date", []))
        number, text = entry.get("number"), entry.get("text", "{}")
        problems = {
            "date": next(filter(None, (_problem(date_pattern_problem, d) for d in dates)), ""),
            "number": "" if number is None else _problem(number_pattern_problem, number),
            "text": "" if isinstance(text, str) and "{}" in text
            else "write {} where the value goes",
        }  # fmt: skip
        if dates and number is not None:
            problems["number"] = "a value is a date or a number, not both"
        found = [f"{where}, {key}: {why}" for key, why in problems.items() if why]
        self.problems += found
        return None if found else make_formatter(dates, number, text)

    def _joins(self, named: Any) -> tuple[Join, ...]:
        joins: list[Join] = []
        for text in _as_list(named):
            reached = self._reached(joins)
            (left, left_column), (right, right_column) = self._sides(text)
            if left not in reached and right in reached:
                left, left_column, right, right_column = right, right_column, left, left_column
            if left not in reached:
                so_far = ", ".join(dict.fromkeys(reached))
                raise _InvalidEntry(
                    f"{text!r} begins at {left}, which is not joined yet; so far: {so_far}"
                )
            joins.append(Join(_last_place(reached, left), left_column, right, right_column))
        return tuple(joins)

    def _sides(self, text: Any) -> tuple[tuple[str, str], tuple[str, str]]:
        """Parse ``a.x = b.y`` and return both columns."""
        if isinstance(text, str):
            for match in re.finditer(r"=", text):
                left, right = text[: match.start()].strip(), text[match.end() :].strip()
                try:
                    return self._split(left), self._split(right)
                except _InvalidEntry as error:
                    if text.count("=") == 1:
                        raise error
        raise _InvalidEntry(f"write TABLE.COLUMN = TABLE.COLUMN, not {text!r}")

    def _reached(self, joins: Sequence[Join]) -> list[str]:
        return [self.root, *(join.table for join in joins)]

    def _column(self, name: Any, reached: Sequence[str]) -> Column:
        """Return a column; if its table was joined several times, use the last join."""
        table, column = self._split(name)
        if table not in reached:
            hint = next(
                (
                    f"; it has a foreign key: join: [{r.table}.{r.column} = "
                    f"{r.to_table}.{r.to_column}]"
                    for r in self.catalogue.foreign_keys
                    if {r.table, r.to_table} == {table, reached[0]}
                ),
                "",
            )
            raise _InvalidEntry(f"no join leads from {reached[0]} to {table}{hint}")
        return Column(_last_place(reached, table), column)

    def _split(self, name: Any) -> tuple[str, str]:
        """Split ``TABLE.COLUMN``; both names may contain dots."""
        if not isinstance(name, str) or not name.strip():
            raise _InvalidEntry("name a column: TABLE.COLUMN")
        dots = [match.start() for match in re.finditer(r"\.", name)]
        for part in [*(name[:dot] for dot in dots), name]:
            if part in self.catalogue.unreadable:
                raise _InvalidEntry(f"{part} cannot be read: {self.catalogue.unreadable[part]}")
        for dot in dots:
            if name[:dot] in self.tables and name[dot + 1 :] in self.tables[name[:dot]]:
                return name[:dot], name[dot + 1 :]
        for dot in dots:
            table = match_name(name[:dot], self.tables)
            column = match_name(name[dot + 1 :], self.tables[table]) if table else None
            if table and column:
                return table, column
        for dot in reversed(dots):
            if name[:dot] in self.tables:
                hint = _suggestion(name[dot + 1 :], list(self.tables[name[:dot]]))
                raise _InvalidEntry(f"{name[:dot]} has no column {name[dot + 1 :]!r}{hint}")
        if not dots:
            known = list(self.tables.get(self.root, ()))
            where = [f"{self.root}.{name}"] if name in known else []
            where += [f"{t}.{name}" for t, columns in self.tables.items() if name in columns]
            hint = f"; did you mean {where[0]}?" if where else _suggestion(name, list(self.tables))
            raise _InvalidEntry(f"{name!r} is not of the form TABLE.COLUMN{hint}")
        table = name[: dots[-1]]
        raise _InvalidEntry(f"there is no table {table!r}{_suggestion(table, list(self.tables))}")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _last_place(tables: Sequence[str], table: str) -> int:
    return len(tables) - 1 - list(tables)[::-1].index(table)
