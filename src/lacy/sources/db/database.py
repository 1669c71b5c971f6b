"""Use a database as a source: every value of the subject is a candidate.

The database does not guess which fact is meant. The SLM, which knows the grammar but not the fact,
ranks the candidates by their likelihood in context. A birth date is one of thousands, a country one
of ten; to make their likelihoods comparable, each candidate carries the effective number of values
of its relation, which is computed once when the database is opened.

Databases are opened read-only; every query binds its values and has limits on time and rows.
"""

from __future__ import annotations

import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lacy.errors import LacyError, one_line
from lacy.sources.db.facts import Column, Fact, FactReader, Layout, Relation
from lacy.sources.db.mapping import database_of, layout_of, read_mapping
from lacy.sources.db.stores import Catalogue, StoreError, is_postgres_url, match_name, open_store
from lacy.sources.db.worker import QueryWorker
from lacy.sources.names import EntityLink, EntityLinker, canonical, subject_key
from lacy.sources.protocol import error_reply
from lacy.sources.units import completions
from lacy.types import Candidate, Reply, Request

LOOKUP_SECONDS = 1.0
"""Time limit of one look-up in seconds."""

DEFAULT_MAX_ROWS = 200
"""Maximum number of facts of one subject that become candidates."""

LONGEST_VALUE = 500
"""Maximum characters of a value; longer ones do not fit into a sentence and are ignored."""

_CACHE_SIZE = 1_024
"""Number of subjects for which facts are cached."""
_CACHE_SECONDS = 600.0
"""Seconds after which facts from a server are read again, because they may have changed."""


class Database:
    """Facts ``(subject, relation, value)`` from SQLite, DuckDB or PostgreSQL.

    Args:
        path: a SQLite or DuckDB file, or ``postgresql://user@host/name``.
        table: the table of facts.
        subject: column of the subject.
        relation: column of the relation (the kind of fact).
        value: column of the value (text or number; NULL is not a fact).
        mapping: a mapping file (``lacy.sources.db.mapping``) for tables of any shape; it replaces
            the four arguments above.
        name: the speaker in spans; by default the database's name.
        timeout: time limit of one look-up in seconds.
        max_rows: maximum number of facts of one subject that become candidates.
        fuzzy: True accepts other spellings of names (``lacy.sources.names``).

    Raises:
        LacyError: E65, no such file; E66, not a readable database; E67, no such table; E68, no such
        column; E94, the server cannot be used; E11, a package is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        table: str = "fact",
        subject: str = "subject",
        relation: str = "relation",
        value: str = "value",
        mapping: str | Path | None = None,
        name: str | None = None,
        timeout: float = LOOKUP_SECONDS,
        max_rows: int = DEFAULT_MAX_ROWS,
        fuzzy: bool = True,
    ) -> None:
        self.store = store = open_store(path)
        if is_postgres_url(path):
            self.url = store.place
        else:
            self.path = Path(path)
        self.name = name or store.name
        self.timeout, self.max_rows = timeout, max_rows
        self._worker = QueryWorker(store.interrupt)
        self._lock = threading.Lock()
        self._cache: OrderedDict[Any, tuple[float, list[Fact], bool]] = OrderedDict()
        try:
            catalogue = store.catalogue()
            layout = (
                _fact_table(catalogue, store.place, table, (subject, relation, value))
                if mapping is None
                else layout_of(read_mapping(mapping), catalogue, mapping)
            )
            self._reader = FactReader(store, layout, timeout, catalogue.views)
            self._normalize = canonical if self._reader.keyed else subject_key
            self._linker = EntityLinker(self._read_names(), fuzzy=fuzzy, key=self._normalize)
            self.alternatives = self._reader.alternatives()
            self._relations = tuple(sorted(self.alternatives))
        except StoreError as error:
            store.close()
            if mapping is not None:
                raise LacyError("E96", path=mapping, place=store.place, why=str(error)) from error
            code = "E94" if is_postgres_url(path) else "E66"
            raise LacyError(code, place=store.place, path=store.place, why=str(error)) from error
        except BaseException:
            store.close()
            raise
        self.names = self._linker.exact

    @classmethod
    def mapped(cls, mapping: str | Path, **options: Any) -> Database:
        """Open the database named in a mapping file, with ``options`` as in ``Database``.

        Raises:
            LacyError: E13, no such file; E95, it has problems; E96, the tables cannot be joined in
                this way; and the errors of ``Database``.
        """
        return cls(database_of(read_mapping(mapping), mapping), mapping=mapping, **options)

    def settings(self) -> dict[str, Any]:
        """Return everything that influences the answers except the database's content."""
        layout = repr(self._reader.layout)
        return {"place": self.store.place, "layout": layout, "max_rows": self.max_rows}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return all values of each text's subject; if there are none, ``error`` says why.

        A database that may be slow is queried in a thread, so that a caller's timeout ends it.
        """
        if not self.store.blocking:
            return [self._reply(request) for request in requests]
        return await self._worker.ask(self._reply, requests)

    def close(self) -> None:
        """Close the database; asking afterwards gives replies with an error."""
        self.store.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def link(self, text: str) -> str | None:
        """Return the subject of a text: the first name in the last paragraph that has one."""
        found, _ = self._linker.find(text)
        return found.name if found else None

    def facts(self, subject: str) -> list[tuple[str, str]]:
        """Return the (relation, value) pairs of a subject, at most ``max_rows``."""
        found, _ = self._look_up(self.names.stored_spelling(subject))
        return [(relation, forms[0]) for relation, forms in found]

    def rows(self) -> Iterator[tuple[tuple[str, ...], str, tuple[str, ...]]]:
        """Yield all facts: the names of the subject, the relation, and the forms of the value.

        Of a subject, at most ``max_rows`` facts are given; ambiguous names are left out.

        Raises:
            StoreError: the database did not answer.
        """
        names: dict[tuple[Any, ...], list[str]] = {}
        for _, owner, name in self._reader.subjects():
            normal = self._normalize(name)
            if normal in self._ambiguous:
                continue
            spellings = names.setdefault(self._keys.get(normal, (name,)), [])
            spellings.insert(0 if owner in ("", name) else len(spellings), name)
        for keys, spellings in names.items():
            for relation, forms in self._reader.facts_of(keys, self.max_rows)[0]:
                yield tuple(dict.fromkeys(spellings)), relation, forms

    # ------------------------------------------------------------------------------- answering

    def _reply(self, request: Request) -> Reply:
        begin = time.perf_counter()
        try:
            link, facts, more, why = self._find_facts(request)
        except (StoreError, _AmbiguousName) as error:
            return error_reply(self, str(error), begin, fault=isinstance(error, StoreError))
        if link is None:
            return error_reply(self, why, begin)
        note = f", first {self.max_rows} of more facts" if more else ""
        note += f"; {link.note}" if link.note else ""
        subject = request.subject if request.subject and not link.note else link.name
        found = []
        for relation, stored in facts:
            forms = [f for f in map(one_line, stored) if len(f) <= LONGEST_VALUE and _is_visible(f)]
            if not forms:
                continue
            evidence = one_line(f"{link.name} · {relation} · {forms[0]} ({self.name}{note})")
            alternatives = self.alternatives.get(relation, 1.0)
            for text in dict.fromkeys(t for f in forms for t in completions(request.text, f)):
                found.append(Candidate(text, evidence, relation, alternatives, subject))
        if not found:
            return error_reply(self, f"the text has just given all values of {subject!r}", begin)
        seconds = time.perf_counter() - begin
        return Reply(tuple(found), ranked=True, seconds=seconds, relations=self._relations)

    def _find_facts(self, request: Request) -> tuple[EntityLink | None, list[Fact], bool, str]:
        """Return the subject, its facts, True if there are more facts, and why there are none.

        Raises:
            StoreError: the database did not answer.
            _AmbiguousName: the name matches several subjects.
        """
        if request.subject:
            name = self.names.stored_spelling(request.subject)
            facts, more = self._look_up(name)
            if facts:
                return EntityLink(name), facts, more, ""
            link, why = self._linker.resolve(request.subject)
            why = why or f"it does not know {request.subject!r}"
        else:
            link, why = self._linker.find(request.text)
            why = why or "the text contains no name that it knows"
        if link is not None:
            facts, more = self._look_up(link.name)
            if facts:
                return link, facts, more, ""
            why = f"it does not know {link.name!r}"
        return None, [], False, why

    def _look_up(self, subject: str) -> tuple[list[Fact], bool]:
        """Return the facts of a subject (at most ``max_rows``), and True if there are more."""
        name = self._normalize(subject)
        if name in self._ambiguous:
            raise _AmbiguousName(f"several entries are called {subject!r}")
        keys = self._keys.get(name, () if self._reader.keyed else (subject,))
        if not keys:
            return [], False
        with self._lock:
            if keys in self._cache:
                at, found, more = self._cache[keys]
                if not self.store.blocking or time.monotonic() - at < _CACHE_SECONDS:
                    self._cache.move_to_end(keys)
                    return found, more
        found, more = self._reader.facts_of(keys, self.max_rows)
        with self._lock:
            self._cache[keys] = (time.monotonic(), found, more)
            while len(self._cache) > _CACHE_SIZE:
                self._cache.popitem(last=False)
        return found, more

    def _read_names(self) -> Iterable[str]:
        """Return all names; also store the keys of the facts of each normalized name.

        Without a key column, a subject's keys are the spellings of its name. With a key column, a
        name with two keys is ambiguous.
        """
        self._keys: dict[str, tuple[Any, ...]] = {}
        self._ambiguous: set[str] = set()
        keyed = self._reader.keyed
        owners: dict[str, str] = {}
        names: dict[str, None] = {}
        for key, owner, stored in self._reader.subjects():
            names[stored] = None
            name = self._normalize(stored)
            keys = self._keys.get(name, ())
            if name in self._ambiguous or key in keys:
                continue
            new_owner = name if owner in ("", stored) else self._normalize(owner)
            if keys and (keyed or owners[name] != new_owner):
                self._ambiguous.add(name)
            owners[name] = new_owner
            self._keys[name] = (*keys, key)
        for alias, owner in () if keyed else owners.items():
            if owner in self._ambiguous:
                self._ambiguous.add(alias)
            elif owner in self._keys:
                self._keys[alias] = self._keys[owner]
        return names


class _AmbiguousName(Exception):
    """Raised when a name matches more than one subject."""


def _fact_table(catalogue: Catalogue, place: str, table: str, columns: Sequence[str]) -> Layout:
    """Return the layout of a table of facts, checked against the database."""
    if table in catalogue.unreadable:
        raise LacyError("E74", path=place, table=table, why=catalogue.unreadable[table])
    name = match_name(table, catalogue.tables)
    if name is None:
        raise LacyError("E67", path=place, table=table, found=_listed(catalogue.tables))
    existing = catalogue.tables[name]
    found = []
    for column in columns:
        known = match_name(column, existing)
        if why := catalogue.unreadable.get(f"{name}.{column}"):
            raise LacyError("E74", path=place, table=f"{name}.{column}", why=why)
        if known is None:
            raise LacyError("E68", path=place, table=name, column=column, found=_listed(existing))
        found.append(known)
    subject, relation, value = found
    relations = (Relation(Column(0, relation), (Column(0, value),)),)
    return Layout(name, subject, subject, relations)


def _is_visible(value: str) -> bool:
    """True if a value has a visible character (a zero-width space is invisible)."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
