"""A first mapping for a database, from its catalogue: to be read, corrected and used.

The likeliest table of subjects is chosen by its columns' names and by who refers to it; its other
columns are relations, and so are those that one foreign key, or a table of two foreign keys, leads
to. Nothing of the data goes into the mapping but whether a text column holds dates.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from lacy.errors import LacyError, one_line
from lacy.sources.db.stores import (
    PROBE_SECONDS,
    VIEW_SECONDS,
    Catalogue,
    Reference,
    Store,
    StoreError,
    is_url,
    open_store,
)

_NAMES = ("name", "full_name", "fullname", "title", "label", "subject", "display_name", "entity")
_PARTS = ("first_name", "last_name", "surname", "given_name", "username", "user_name", "pen_name")
_ALIASES = ("alias", "pen_name", "nickname", "short_name", "aka", "native_name")
_RELATION = ("relation", "predicate", "property", "attribute", "kind", "type", "field")
_VALUE = ("value", "object", "val", "answer")
_DATE = re.compile(r"-?\d{1,4}-\d{2}-\d{2}([ T].*)?")
_LOOKED_AT = 20
"""Values of a text column that are looked at for dates."""


def draft(database: str | Path, beside: Path) -> str:
    """A mapping file's text.

    Args:
        database: a file or an address; its password is not written.
        beside: the file that the mapping is written to; the database's path is relative to it.

    Raises:
        LacyError: E97, there is no table with a column of names; what ``open_store`` raises.
    """
    store = open_store(database)
    try:
        named = store.place if is_url(database) else _relative(Path(database), beside)
        return "\n".join(_Draft(store).lines(named)) + "\n"
    except StoreError as error:
        code = "E94" if is_url(database) else "E66"
        raise LacyError(code, place=store.place, path=store.place, why=str(error)) from error
    finally:
        store.close()


def _relative(database: Path, beside: Path) -> str:
    database, folder = database.resolve(), beside.resolve().parent
    same = database.is_relative_to(folder)
    return str(database.relative_to(folder) if same else database)


class _Draft:
    """One database's mapping."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.catalogue: Catalogue = readable(store)
        self.out = {(r.table, r.column): r for r in self.catalogue.references}

    def lines(self, named: str) -> Iterator[str]:
        """The file, line by line."""
        ranked = sorted(self._scores().items(), key=lambda found: (-found[1], found[0]))
        if not ranked:
            tables = ", ".join(self.catalogue.tables) or "none"
            tables += "".join(f"; {line}" for line in left_out(self.catalogue))
            why = f"no table has a text column that could hold names; tables: {tables}"
            do = "make a view with a column of names, or write the mapping by hand"
            raise LacyError("E97", place=self.store.place, why=why, do=do)
        (table, subject), _ = ranked[0]
        yield "# Where facts stand. Keep what the model shall be able to say, and rename it as you"
        yield '# like; what is left out is never offered. Try it: lacy source ask THIS_FILE "..."'
        yield from (f"# {line}" for line in left_out(self.catalogue))
        yield f"database: {_text(named)}"
        yield ""
        yield "# Whom or what facts are about: the column that holds the name."
        others = [f"{t}.{c}" for (t, c), _ in ranked[1:5]]
        if others:
            yield f"# It could also be: {one_line(', '.join(others))}"
        yield f"subject: {_text(f'{table}.{subject}')}"
        aliases = [c for c in self.catalogue.tables[table] if c.lower() in _ALIASES]
        aliases = [c for c in aliases if c != subject]
        if aliases:
            yield "# Further columns with names of the same."
            yield f"aliases: [{', '.join(_text(f'{table}.{c}') for c in aliases)}]"
        fact = self._fact_table(table, subject)
        if fact:
            yield ""
            yield "# A table of facts: one column says the relation, one the value."
            relation, value = (_text(f"{table}.{c}") for c in fact)
            yield f"facts: {{relation: {relation}, value: {value}}}"
            return
        yield ""
        yield "# A relation's name is what it is called; `join` is the way from the subject's table"
        yield "# to the value's. `date` and `number` write a value as texts do."
        yield "relations:"
        relations = list(self._relations(table, subject, aliases))
        yield from relations or ["  {}  # this table has no other columns"]

    def _scores(self) -> dict[tuple[str, str], float]:
        """How likely each text column holds the names of subjects."""
        scores = {}
        for table, columns in self.catalogue.tables.items():
            fan = sum(table in (r.table, r.to_table) for r in self.catalogue.references)
            for column, kind in columns.items():
                if not _is_text(kind) or (table, column) in self.out:
                    continue
                low = column.lower()
                fit = 4.0 * (low in _NAMES) + 2.0 * (low in _PARTS)
                fit = fit or 2.0 * low.endswith(("_name", "_title", " name"))
                if not fit and self.catalogue.keys.get(table) != column:
                    fit = 0.5 if len(columns) > 1 else 0.0
                fit += 3.0 * bool(self._fact_table(table, column)) * (low in _NAMES)
                # What other tables describe (a person) has more columns than what it refers to.
                size = min(len(columns), 8) / 4 + min(fan, 6) / 4
                scores[table, column] = fit + size if fit else 0.0
        return {place: score for place, score in scores.items() if score > 0}

    def _fact_table(self, table: str, subject: str) -> tuple[str, str] | None:
        """Its columns of relation and value, if it is a table of facts."""
        columns = {column.lower(): column for column in self.catalogue.tables[table]}
        relation = next((columns[name] for name in _RELATION if name in columns), None)
        value = next((columns[name] for name in _VALUE if name in columns), None)
        if relation and value and subject not in (relation, value):
            return relation, value
        return None

    def _relations(self, table: str, subject: str, aliases: list[str]) -> Iterator[str]:
        taken: set[str] = set()
        for column, kind in self.catalogue.tables[table].items():
            if column in (subject, self.catalogue.keys.get(table), *aliases):
                continue
            if self.store.reading(table, column).kind == "none":
                continue
            reference = self.out.get((table, column))
            if reference is None:
                yield self._entry(_said(column, taken), table, column, kind, [])
            elif label := self._label(reference.to_table):
                name = _said(re.sub(r"_?id$", "", column, flags=re.I) or reference.to_table, taken)
                join = [f"{table}.{column} = {reference.to_table}.{reference.to_column}"]
                yield self._entry(name, reference.to_table, label, "text", join)
        for reference in self.catalogue.references:
            if reference.to_table == table and reference.table != table:
                yield from self._of_others(reference, taken)

    def _of_others(self, back: Reference, taken: set[str]) -> Iterator[str]:
        """What a table that refers to the subjects tells of them."""
        first = f"{back.to_table}.{back.to_column} = {back.table}.{back.column}"
        columns = self.catalogue.tables[back.table]
        further = [r for r in self.catalogue.references if r.table == back.table and r != back]
        for link in further:
            if (label := self._label(link.to_table)) and link.to_table != back.to_table:
                second = f"{link.table}.{link.column} = {link.to_table}.{link.to_column}"
                name = _said(link.to_table, taken)
                yield self._entry(name, link.to_table, label, "text", [first, second])
        own = [c for c in columns if (back.table, c) not in self.out]
        own = [c for c in own if c != self.catalogue.keys.get(back.table)]
        own = [c for c in own if self.store.reading(back.table, c).kind != "none"]
        for column in own:
            name = _said(f"{back.table} {column}" if len(own) > 1 else back.table, taken)
            yield self._entry(name, back.table, column, columns[column], [first])

    def _entry(self, name: str, table: str, column: str, kind: str, join: list[str]) -> str:
        parts = [f"value: {_text(f'{table}.{column}')}"]
        if join:
            parts.append(f"join: [{', '.join(map(_text, join))}]")
        if self._is_date(table, column, kind):
            parts.append('date: "%-d %B %Y"')
        note = f"  # {one_line(kind)}" if kind and not join else ""
        return f"  {_text(name)}: {{{', '.join(parts)}}}{note}"

    def _is_date(self, table: str, column: str, kind: str) -> bool:
        if re.search(r"date|timestamp", kind, re.I):
            return True
        if kind and not _is_text(kind):
            return False
        there = self.store.quoted(column)
        home = self.store.table(table)
        query = f"SELECT {there} FROM {home} WHERE {there} IS NOT NULL LIMIT {_LOOKED_AT}"
        try:
            seen = [str(v) for (v,) in self.store.rows(query, seconds=PROBE_SECONDS)]
        except StoreError:  # too slow, or a value that cannot be computed
            return False
        return bool(seen) and all(_DATE.fullmatch(value) for value in seen)

    def _label(self, table: str) -> str | None:
        """The column that says what a row of a table is."""
        columns = self.catalogue.tables[table]
        text = [c for c, kind in columns.items() if _is_text(kind) and (table, c) not in self.out]
        best = [c for c in text if c.lower() in _NAMES]
        return next(iter(best + text), None)


def readable(store: Store) -> Catalogue:
    """The readable part of a database's catalogue; views are tried, as they may fail or never end.

    Raises:
        StoreError: the catalogue cannot be read.
    """
    found = store.catalogue()
    broken = dict(found.unreadable)
    begin = time.perf_counter()
    for table in sorted(found.doubtful):
        if time.perf_counter() - begin > VIEW_SECONDS:
            break  # the others are not tried
        query = f"SELECT COUNT(*) FROM (SELECT * FROM {store.table(table)} LIMIT 1) AS one"
        try:
            store.rows(query, seconds=PROBE_SECONDS)
        except StoreError as error:
            broken[table] = str(error)
    return Catalogue(
        {table: columns for table, columns in found.tables.items() if table not in broken},
        {table: key for table, key in found.keys.items() if table not in broken},
        tuple(r for r in found.references if not {r.table, r.to_table} & broken.keys()),
        found.views - broken.keys(),
        found.doubtful - broken.keys(),
        broken,
    )


def left_out(catalogue: Catalogue) -> list[str]:
    """A line for each table or view that cannot be read."""
    return [f"left out: {one_line(t)}: {one_line(why)}" for t, why in catalogue.unreadable.items()]


def _is_text(kind: str) -> bool:
    return not kind or (
        "[" not in kind and bool(re.search(r"char|text|string|clob|name|enum", kind, re.I))
    )


def _said(name: str, taken: set[str]) -> str:
    """A name of a relation in words, each once."""
    plain = " ".join(name.replace("_", " ").replace(".", " ").split()) or name
    number, found = 1, plain
    while found in taken:
        number += 1
        found = f"{plain} {number}"
    taken.add(found)
    return found


def _text(value: str) -> str:
    """A value as YAML: plain where that is safe, else in quotes."""
    plain = re.fullmatch(r"[A-Za-z_][\w .]*(?: = [\w .]+)?", value)
    words = value.lower() in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")
    return value if plain and not words and value == value.strip() else json.dumps(value)
