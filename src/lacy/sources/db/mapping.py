"""A mapping file: where facts stand in tables that were made for something else.

    database: people.duckdb            # a path beside this file, or postgresql://user@host/name
    subject: person.name               # whom or what facts are about
    aliases: [person.pen_name]         # further names
    relations:
      birth date: {value: person.born, date: "%-d %B %Y"}
      birth place: {value: city.name, join: [person.city_id = city.id]}
      award:
        value: award.title
        join: [person.id = won.person_id, won.award_id = award.id]
    facts: {relation: claim.kind, value: claim.said, join: [person.id = claim.person_id]}

``TABLE.COLUMN`` names a column. A join goes from a table that was reached (the first is the
subject's) to the next. A list of values, or of patterns of a date, holds several writings of one
value. Everything is held against the database's catalogue before anything is asked.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lacy.config import read_yaml
from lacy.errors import LacyError
from lacy.sources.db.facts import Column, Join, Layout, Relation
from lacy.sources.db.stores import Catalogue, is_address, is_url, spelled, without_secret
from lacy.sources.db.writing import check_date, check_number, writer

TOP = ("database", "subject", "key", "aliases", "relations", "facts")
ENTRY = ("value", "join", "date", "number", "text")


def read_mapping(path: str | Path) -> dict[str, Any]:
    """The content of a mapping file, and ``lines`` of its keys.

    Raises:
        LacyError: E13 no such file, E95 it is no mapping.
    """
    try:
        content, _ = read_yaml(path)
    except LacyError as error:
        if error.code != "E15":
            raise
        why = without_secret(error.values["why"])  # an address may hold a password
        raise LacyError("E95", path=path, count=1, problems=f"\n  - {why}") from None
    problems = [_unknown(str(key), TOP, "") for key in content if key not in TOP]
    if not isinstance(content.get("database"), str):
        problems.append("database: name the file, or postgresql://user@host/name")
    if "relations" not in content and "facts" not in content:
        problems.append("relations: there are none")
    _raise(path, problems)
    return content


def database_of(content: Mapping[str, Any], path: str | Path) -> str | Path:
    """The database that a mapping names: an address, or a path relative to the mapping."""
    named: str = content["database"]
    address = is_url(named) or is_address(named)
    return named if address else Path(path).parent / named


def layout_of(content: Mapping[str, Any], catalogue: Catalogue, path: str | Path) -> Layout:
    """What a mapping says, held against what there is.

    Raises:
        LacyError: E95 with all problems, each with its entry and what there is instead.
    """
    reader = _Reader(catalogue)
    layout = reader.layout(content)
    _raise(path, reader.problems)
    assert layout is not None  # only with a problem
    return layout


def _raise(path: str | Path, problems: Sequence[str]) -> None:
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise LacyError("E95", path=path, count=len(problems), problems=listed)


def _unknown(name: str, known: Sequence[str], where: str) -> str:
    entry = f"{where}{name}" if where else name
    return f"{entry}: there is no such entry{_near(name, known)}"


def _near(name: str, known: Sequence[str]) -> str:
    """Close matches, else all there is."""
    close = difflib.get_close_matches(name, known, 3, 0.6)
    if close:
        return f"; did you mean {' or '.join(close)}?"
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"; there is: {shown or 'nothing'}"


def _checked(check: Callable[[str], str], pattern: Any) -> str:
    """What is wrong with a pattern; empty if nothing."""
    return check(pattern) if isinstance(pattern, str) else "write a pattern in quotes"


class _Bad(Exception):
    """An entry that cannot be used; its text says why."""


class _Reader:
    """Reads a mapping and keeps what is wrong with it."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.tables = catalogue.tables
        self.catalogue = catalogue
        self.problems: list[str] = []
        self.root = ""

    def layout(self, content: Mapping[str, Any]) -> Layout | None:
        """The whole; None if whose facts they are is not known."""
        try:
            self.root, subject = self._split(content.get("subject"))
        except _Bad as bad:
            self.problems.append(f"subject: {bad}")
            return None
        key = self._key(content, subject)
        aliases = []
        named = content.get("aliases") or []
        for number, alias in enumerate(named if isinstance(named, list) else [named], 1):
            found = self._entry(f"aliases, entry {number}", alias, ("value", "join"))
            aliases += [(column, found.joins) for column in found.values] if found else []
        relations = self._relations(content)
        if "facts" in content:
            found = self._facts(content["facts"])
            relations += [found] if found else []
        # Equal ways beside each other share a query.
        order = {joins: n for n, joins in enumerate(dict.fromkeys(r.joins for r in relations))}
        relations.sort(key=lambda relation: order[relation.joins])
        return Layout(self.root, subject, key, tuple(relations), tuple(aliases))

    def _key(self, content: Mapping[str, Any], subject: str) -> str:
        """The column that tells subjects apart: named, else the primary key, else the name."""
        if "key" not in content:
            # In a table of facts its key numbers facts, not subjects.
            facts = content.get("facts")
            own = isinstance(facts, Mapping) and not facts.get("join")
            return subject if own else self.catalogue.keys.get(self.root, subject)
        try:
            table, column = self._split(content["key"])
            if table != self.root:
                raise _Bad(f"it must be a column of {self.root}, the subject's table")
        except _Bad as bad:
            self.problems.append(f"key: {bad}")
            return subject
        return column

    def _relations(self, content: Mapping[str, Any]) -> list[Relation]:
        named = content.get("relations") or {}
        if not isinstance(named, Mapping):
            self.problems.append("relations: write `name: TABLE.COLUMN` lines")
            return []
        found = []
        for name, entry in named.items():
            where = f"relations, {name}"
            if relation := self._entry(where, entry, ENTRY):
                found.append(Relation(name, relation.values, relation.joins, relation.writer))
        return found

    def _facts(self, entry: Any) -> Relation | None:
        if not isinstance(entry, Mapping) or "relation" not in entry:
            self.problems.append("facts: write {relation: TABLE.COLUMN, value: TABLE.COLUMN}")
            return None
        rest = {k: v for k, v in entry.items() if k != "relation"}
        found = self._entry("facts", rest, ENTRY)
        try:
            name = self._column(entry["relation"], self._reached(found.joins if found else ()))
        except _Bad as bad:
            self.problems.append(f"facts, relation: {bad}")
            return None
        return Relation(name, found.values, found.joins, found.writer) if found else None

    def _entry(self, where: str, entry: Any, known: Sequence[str]) -> Relation | None:
        """An entry of a relation or an alias; its name is left out."""
        if isinstance(entry, str | list):
            entry = {"value": entry}
        if not isinstance(entry, Mapping):
            self.problems.append(f"{where}: write TABLE.COLUMN, or {{value: TABLE.COLUMN, …}}")
            return None
        before = len(self.problems)
        self.problems += [_unknown(str(k), known, f"{where}, ") for k in entry if k not in known]
        try:
            joins = self._joins(entry.get("join") or [])
        except _Bad as bad:
            self.problems.append(f"{where}, join: {bad}")
            return None
        named = entry.get("value")
        values = []
        for one in named if isinstance(named, list) and named else [named]:
            try:
                values.append(self._column(one, self._reached(joins)))
            except _Bad as bad:
                self.problems.append(f"{where}, value: {bad}")
        write = self._writer(where, entry)
        if len(self.problems) > before:
            return None
        return Relation("", tuple(values), joins, write)

    def _writer(self, where: str, entry: Mapping[str, Any]) -> Any:
        """How values are written; None for as they stand."""
        if not {"date", "number", "text"} & set(entry):
            return None
        dates = entry.get("date", [])
        dates = dates if isinstance(dates, list) else [dates]
        number, text = entry.get("number"), entry.get("text", "{}")
        wrong = {
            "date": next(filter(None, (_checked(check_date, d) for d in dates)), ""),
            "number": "" if number is None else _checked(check_number, number),
            "text": "" if isinstance(text, str) and "{}" in text
            else "{} must stand where the value goes",
        }  # fmt: skip
        if dates and number is not None:
            wrong["number"] = "a value is a date or a number, not both"
        found = [f"{where}, {key}: {why}" for key, why in wrong.items() if why]
        self.problems += found
        return None if found else writer(dates, number, text)

    def _joins(self, named: Any) -> tuple[Join, ...]:
        joins: list[Join] = []
        for text in named if isinstance(named, list) else [named]:
            reached = self._reached(joins)
            (left, left_column), (right, right_column) = self._sides(text)
            if left not in reached and right in reached:
                left, left_column, right, right_column = right, right_column, left, left_column
            if left not in reached:
                so_far = ", ".join(dict.fromkeys(reached))
                raise _Bad(f"{text!r} begins at {left}, which is not reached; so far: {so_far}")
            at = len(reached) - 1 - reached[::-1].index(left)
            joins.append(Join(at, left_column, right, right_column))
        return tuple(joins)

    def _sides(self, text: Any) -> tuple[tuple[str, str], tuple[str, str]]:
        """Both columns of ``a.x = b.y``."""
        if isinstance(text, str):
            for match in re.finditer(r"=", text):
                left, right = text[: match.start()].strip(), text[match.end() :].strip()
                try:
                    return self._split(left), self._split(right)
                except _Bad as bad:
                    if text.count("=") == 1:
                        raise bad
        raise _Bad(f"write TABLE.COLUMN = TABLE.COLUMN, not {text!r}")

    def _reached(self, joins: Sequence[Join]) -> list[str]:
        return [self.root, *(join.table for join in joins)]

    def _column(self, name: Any, reached: Sequence[str]) -> Column:
        """A column of the table that was reached last under its name."""
        table, column = self._split(name)
        if table not in reached:
            way = next(
                (
                    f"; the database knows a way: join: [{r.table}.{r.column} = "
                    f"{r.to_table}.{r.to_column}]"
                    for r in self.catalogue.references
                    if {r.table, r.to_table} == {table, reached[0]}
                ),
                "",
            )
            raise _Bad(f"no join leads from {reached[0]} to {table}{way}")
        return Column(len(reached) - 1 - list(reached)[::-1].index(table), column)

    def _split(self, name: Any) -> tuple[str, str]:
        """Table and column; either may hold dots."""
        if not isinstance(name, str) or not name.strip():
            raise _Bad("name a column: TABLE.COLUMN")
        dots = [match.start() for match in re.finditer(r"\.", name)]
        broken = self.catalogue.unreadable
        wholes = [name[:dot] for dot in dots] + [name]
        if lost := next((one for one in wholes if one in broken), None):
            raise _Bad(f"{lost} cannot be read: {broken[lost]}")
        for dot in dots:
            if name[:dot] in self.tables and name[dot + 1 :] in self.tables[name[:dot]]:
                return name[:dot], name[dot + 1 :]
        for dot in dots:
            table = spelled(name[:dot], self.tables)
            column = spelled(name[dot + 1 :], self.tables[table]) if table else None
            if table and column:
                return table, column
        for dot in reversed(dots):
            if name[:dot] in self.tables:
                near = _near(name[dot + 1 :], list(self.tables[name[:dot]]))
                raise _Bad(f"{name[:dot]} has no column {name[dot + 1 :]!r}{near}")
        if not dots:
            known = list(self.tables.get(self.root, ()))
            where = [f"{self.root}.{name}"] if name in known else []
            where += [f"{t}.{name}" for t, columns in self.tables.items() if name in columns]
            hint = f"; did you mean {where[0]}?" if where else _near(name, list(self.tables))
            raise _Bad(f"{name!r} is not written TABLE.COLUMN{hint}")
        table = name[: dots[-1]]
        raise _Bad(f"there is no table {table!r}{_near(table, list(self.tables))}")
