"""Draft a mapping file for a database from its catalogue, for the user to check and correct.

The table of subjects is chosen by the names of its columns and by the foreign keys that refer to
it. Its other columns become relations, and so do columns that are reached over one foreign key or
over a link table with two foreign keys. The data itself is used only to detect text columns with
dates.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from lacy.errors import LacyError, one_line
from lacy.sources.db.stores import (
    VIEW_PROBE_SECONDS,
    VIEW_SECONDS,
    Catalogue,
    ForeignKey,
    Store,
    StoreError,
    is_postgres_url,
    open_store,
)

_NAMES = ("name", "full_name", "fullname", "title", "label", "subject", "display_name", "entity")
_PARTS = ("first_name", "last_name", "surname", "given_name", "username", "user_name", "pen_name")
_ALIASES = ("alias", "pen_name", "nickname", "short_name", "aka", "native_name")
_RELATION = ("relation", "predicate", "property", "attribute", "kind", "type", "field")
_VALUE = ("value", "object", "val", "answer")
_DATE = re.compile(r"-?\d{1,4}-\d{2}-\d{2}([ T].*)?")
_SAMPLE = 20
"""Number of values of a text column that are checked for dates."""


def draft_mapping(database: str | Path, beside: Path) -> str:
    """Return the text of a mapping file.

    Args:
        database: a file or an address; the password is not written.
        beside: path of the mapping file; the database's path is written relative to its folder.

    Raises:
        LacyError: E97, no table has a column of names; and the errors of ``open_store``.
    """
    store = open_store(database)
    try:
        named = store.place if is_postgres_url(database) else _relative(Path(database), beside)
        return "\n".join(_Drafter(store).lines(named)) + "\n"
    except StoreError as error:
        code = "E94" if is_postgres_url(database) else "E66"
        raise LacyError(code, place=store.place, path=store.place, why=str(error)) from error
    finally:
        store.close()


def _relative(database: Path, beside: Path) -> str:
    database, folder = database.resolve(), beside.resolve().parent
    same = database.is_relative_to(folder)
    return str(database.relative_to(folder) if same else database)


class _Drafter:
    """Drafts the mapping of one database."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.catalogue: Catalogue = readable_catalogue(store)
        self.outgoing = {(k.table, k.column): k for k in self.catalogue.foreign_keys}

    def lines(self, named: str) -> Iterator[str]:
        """Yield the lines of the mapping file."""
        ranked = sorted(self._scores().items(), key=lambda found: (-found[1], found[0]))
        if not ranked:
            tables = ", ".join(self.catalogue.tables) or "none"
            tables += "".join(f"; {line}" for line in describe_unreadable(self.catalogue))
            why = f"no table has a text column that could contain names; tables: {tables}"
            do = "create a view with a column of names, or write the mapping by hand"
            raise LacyError("E97", place=self.store.place, why=why, do=do)
        (table, subject), _ = ranked[0]
        yield "# Columns that contain facts. Delete what the model must not use, rename relations"
        yield '# as you like. Try it: lacy source ask THIS_FILE "..."'
        yield from (f"# {line}" for line in describe_unreadable(self.catalogue))
        yield f"database: {_yaml(named)}"
        yield ""
        yield "# The column with the names of the subjects."
        if others := [f"{t}.{c}" for (t, c), _ in ranked[1:5]]:
            yield f"# It could also be: {one_line(', '.join(others))}"
        yield f"subject: {_yaml(f'{table}.{subject}')}"
        aliases = [c for c in self.catalogue.tables[table] if c.lower() in _ALIASES]
        aliases = [c for c in aliases if c != subject]
        if aliases:
            yield "# Columns with other names of the same subjects."
            yield f"aliases: [{', '.join(_yaml(f'{table}.{c}') for c in aliases)}]"
        fact = self._fact_table(table, subject)
        if fact:
            yield ""
            yield "# A table of facts has a column for the relation and a column for the value."
            relation, value = (_yaml(f"{table}.{c}") for c in fact)
            yield f"facts: {{relation: {relation}, value: {value}}}"
            return
        yield ""
        yield "# Each line is NAME: {value: TABLE.COLUMN}; `join` leads from the subject's table to"
        yield "# the table of the value. `date` and `number` are formats of the written value."
        yield "relations:"
        relations = list(self._relations(table, subject, aliases))
        yield from relations or ["  {}  # this table has no other columns"]

    def _scores(self) -> dict[tuple[str, str], float]:
        """Score each text column by how likely it contains the names of subjects."""
        scores = {}
        for table, columns in self.catalogue.tables.items():
            degree = sum(table in (k.table, k.to_table) for k in self.catalogue.foreign_keys)
            for column, kind in columns.items():
                if not _is_text(kind) or (table, column) in self.outgoing:
                    continue
                low = column.lower()
                fit = 4.0 * (low in _NAMES) + 2.0 * (low in _PARTS)
                fit = fit or 2.0 * low.endswith(("_name", "_title", " name"))
                if not fit and self.catalogue.keys.get(table) != column:
                    fit = 0.5 if len(columns) > 1 else 0.0
                fit += 3.0 * bool(self._fact_table(table, column)) * (low in _NAMES)
                # Subjects have more columns and foreign keys than look-up tables they refer to.
                size = min(len(columns), 8) / 4 + min(degree, 6) / 4
                scores[table, column] = fit + size if fit else 0.0
        return {place: score for place, score in scores.items() if score > 0}

    def _fact_table(self, table: str, subject: str) -> tuple[str, str] | None:
        """Return the columns of relation and value if ``table`` is a table of facts, else None."""
        columns = {column.lower(): column for column in self.catalogue.tables[table]}
        relation = next((columns[name] for name in _RELATION if name in columns), None)
        value = next((columns[name] for name in _VALUE if name in columns), None)
        if relation and value and subject not in (relation, value):
            return relation, value
        return None

    def _relations(self, table: str, subject: str, aliases: list[str]) -> Iterator[str]:
        used_names: set[str] = set()
        for column, kind in self.catalogue.tables[table].items():
            if column in (subject, self.catalogue.keys.get(table), *aliases):
                continue
            if self.store.column_query(table, column).kind == "none":
                continue
            key = self.outgoing.get((table, column))
            if key is None:
                yield self._entry(_relation_name(column, used_names), table, column, kind, [])
            elif label := self._label(key.to_table):
                stem = re.sub(r"_?id$", "", column, flags=re.I) or key.to_table
                join = [f"{table}.{column} = {key.to_table}.{key.to_column}"]
                name = _relation_name(stem, used_names)
                yield self._entry(name, key.to_table, label, "text", join)
        for key in self.catalogue.foreign_keys:
            if key.to_table == table and key.table != table:
                yield from self._incoming(key, used_names)

    def _incoming(self, back: ForeignKey, used_names: set[str]) -> Iterator[str]:
        """Yield the relations in a table with a foreign key to the subjects."""
        first = f"{back.to_table}.{back.to_column} = {back.table}.{back.column}"
        columns = self.catalogue.tables[back.table]
        for key in self.catalogue.foreign_keys:
            if key.table != back.table or key.to_table == back.to_table:
                continue
            if label := self._label(key.to_table):
                second = f"{key.table}.{key.column} = {key.to_table}.{key.to_column}"
                name = _relation_name(key.to_table, used_names)
                yield self._entry(name, key.to_table, label, "text", [first, second])
        own = [c for c in columns if (back.table, c) not in self.outgoing]
        own = [c for c in own if c != self.catalogue.keys.get(back.table)]
        own = [c for c in own if self.store.column_query(back.table, c).kind != "none"]
        for column in own:
            name = _relation_name(
                f"{back.table} {column}" if len(own) > 1 else back.table, used_names
            )
            yield self._entry(name, back.table, column, columns[column], [first])

    def _entry(self, name: str, table: str, column: str, kind: str, join: list[str]) -> str:
        parts = [f"value: {_yaml(f'{table}.{column}')}"]
        if join:
            parts.append(f"join: [{', '.join(map(_yaml, join))}]")
        if self._is_date(table, column, kind):
            parts.append('date: "%-d %B %Y"')
        note = f"  # {one_line(kind)}" if kind and not join else ""
        return f"  {_yaml(name)}: {{{', '.join(parts)}}}{note}"

    def _is_date(self, table: str, column: str, kind: str) -> bool:
        if re.search(r"date|timestamp", kind, re.I):
            return True
        if kind and not _is_text(kind):
            return False
        sql, place = self.store.quoted(column), self.store.table(table)
        query = f"SELECT {sql} FROM {place} WHERE {sql} IS NOT NULL LIMIT {_SAMPLE}"
        try:
            sample = [str(v) for (v,) in self.store.rows(query, seconds=VIEW_PROBE_SECONDS)]
        except StoreError:  # too slow, or the value cannot be computed
            return False
        return bool(sample) and all(_DATE.fullmatch(value) for value in sample)

    def _label(self, table: str) -> str | None:
        """Return the column that names the rows of a table, or None."""
        columns = self.catalogue.tables[table]
        text = [
            c for c, kind in columns.items() if _is_text(kind) and (table, c) not in self.outgoing
        ]
        best = [c for c in text if c.lower() in _NAMES]
        return next(iter(best + text), None)


def readable_catalogue(store: Store) -> Catalogue:
    """Return the readable part of a catalogue; views are tested: they may fail or never end.

    Raises:
        StoreError: the catalogue cannot be read.
    """
    found = store.catalogue()
    broken = dict(found.unreadable)
    begin = time.perf_counter()
    for table in sorted(found.unverified):
        if time.perf_counter() - begin > VIEW_SECONDS:
            break  # do not test the remaining views
        query = f"SELECT COUNT(*) FROM (SELECT * FROM {store.table(table)} LIMIT 1) AS one"
        try:
            store.rows(query, seconds=VIEW_PROBE_SECONDS)
        except StoreError as error:
            broken[table] = str(error)
    return Catalogue(
        {table: columns for table, columns in found.tables.items() if table not in broken},
        {table: key for table, key in found.keys.items() if table not in broken},
        tuple(k for k in found.foreign_keys if not {k.table, k.to_table} & broken.keys()),
        found.views - broken.keys(),
        found.unverified - broken.keys(),
        broken,
    )


def describe_unreadable(catalogue: Catalogue) -> list[str]:
    """Return one line for each table or view that cannot be read."""
    return [f"left out: {one_line(t)}: {one_line(why)}" for t, why in catalogue.unreadable.items()]


def _is_text(kind: str) -> bool:
    return not kind or (
        "[" not in kind and bool(re.search(r"char|text|string|clob|name|enum", kind, re.I))
    )


def _relation_name(name: str, used_names: set[str]) -> str:
    """Return a unique name for a relation, written as words."""
    words = " ".join(name.replace("_", " ").replace(".", " ").split()) or name
    number, found = 1, words
    while found in used_names:
        number += 1
        found = f"{words} {number}"
    used_names.add(found)
    return found


def _yaml(value: str) -> str:
    """Return a value as YAML, quoted unless it is safe without quotes."""
    plain = re.fullmatch(r"[A-Za-z_][\w .]*(?: = [\w .]+)?", value)
    words = value.lower() in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")
    return value if plain and not words and value == value.strip() else json.dumps(value)
