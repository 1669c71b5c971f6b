"""A database as a source: every value of the subject is a candidate.

The database does not guess which fact is meant: the SLM, which knows the grammar but not the fact,
ranks the candidates by their likelihood in context. So that rare kinds of value (a birth date, one
of thousands) can be compared with common ones (a country, one of ten), each candidate carries the
effective number of alternatives of its relation, counted once in the table.

SQLite, DuckDB and PostgreSQL stand behind one interface (``lacy.sources.db.stores``), a table of
facts and a user's own tables behind another (``facts``, ``mapping``). Everything is opened
read-only, every query binds its parameters and is cut off by time and rows.
"""

from __future__ import annotations

import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lacy.errors import LacyError, one_line
from lacy.sources.db.facts import Column, Fact, Facts, Layout, Relation
from lacy.sources.db.stores import Catalogue, Store, StoreError, is_url, open_store, spelled
from lacy.sources.db.turns import Turns
from lacy.sources.names import Link, Linker, plain, same
from lacy.sources.units import completions
from lacy.types import Candidate, Reply, Request

DEFAULT_TIMEOUT = 1.0
"""Seconds that one look-up may take."""

DEFAULT_MAX_ROWS = 200
"""Most facts of one subject that become candidates."""

LONGEST_VALUE = 500
"""Characters above which a value is none that could be said in a sentence."""

_REMEMBER_SUBJECTS = 1_024
_OLD_SECONDS = 600.0
"""A database behind a server may change while it is asked: facts are read again after this time."""


class Database:
    """Facts ``(subject, relation, value)`` from SQLite, DuckDB or PostgreSQL.

    Args:
        path: a SQLite or DuckDB file, or ``postgresql://user@host/name``.
        table: the table of facts.
        subject: its column with whom or what a fact is about.
        relation: its column with the kind of fact.
        value: its column with the value (text or number; NULL is no fact).
        name: who speaks; the database's name by default.
        timeout: seconds that one look-up may take.
        max_rows: most facts of one subject that are offered.
        fuzzy: whether names may be spelled otherwise (``lacy.sources.names.linking``).

    Raises:
        LacyError: E65 no such file, E66 not a database that can be read, E67 no such table, E68 no
            such column, E94 a server that cannot be used, E11 a package is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        table: str = "fact",
        subject: str = "subject",
        relation: str = "relation",
        value: str = "value",
        name: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_rows: int = DEFAULT_MAX_ROWS,
        fuzzy: bool = True,
    ) -> None:
        def layout(catalogue: Catalogue, place: str) -> Layout:
            home, (who, kind, what) = _found(catalogue, place, table, (subject, relation, value))
            relations = (Relation(Column(0, kind), (Column(0, what),)),)
            return Layout(home, who, who, relations)

        self._open(path, layout, name, timeout, max_rows, fuzzy)

    @classmethod
    def mapped(
        cls,
        mapping: str | Path,
        *,
        name: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        max_rows: int = DEFAULT_MAX_ROWS,
        fuzzy: bool = True,
    ) -> Database:
        """Facts from tables that were made for something else, as a mapping file says.

        Args:
            mapping: the file (``lacy.sources.db.mapping``); it names the database.
            name: who speaks; the database's name by default.
            timeout: seconds that one look-up may take.
            max_rows: most facts of one subject that are offered.
            fuzzy: whether names may be spelled otherwise.

        Raises:
            LacyError: E13 no such file, E95 problems in it, E96 tables that cannot be joined so,
                and what ``Database`` raises.
        """
        from lacy.sources.db.mapping import database_of, layout_of, read_mapping

        content = read_mapping(mapping)
        made = cls.__new__(cls)
        made._open(
            database_of(content, mapping),
            lambda catalogue, _: layout_of(content, catalogue, mapping),
            name, timeout, max_rows, fuzzy, Path(mapping),
        )  # fmt: skip
        return made

    def _open(
        self,
        path: str | Path,
        layout: Callable[[Catalogue, str], Layout],
        name: str | None,
        timeout: float,
        max_rows: int,
        fuzzy: bool,
        mapping: Path | None = None,
    ) -> None:
        store = open_store(path)
        if is_url(path):
            self.url = store.place
        else:
            self.path = Path(path)
        self.name = name or store.name
        self.timeout, self.max_rows, self.mapping = timeout, max_rows, mapping
        self._store: Store = store
        self._turns = Turns(store.interrupt)
        self._lock = threading.Lock()
        try:
            catalogue = store.catalogue()
            self._data = Facts(store, layout(catalogue, store.place), timeout, catalogue.views)
            self._one = plain if self._data.keyed else same
            self._linker = Linker(self._read_names(), fuzzy=fuzzy, same=self._one)
            self.alternatives = self._data.alternatives()
        except StoreError as error:
            store.close()
            if mapping is not None:
                raise LacyError("E96", path=mapping, place=store.place, why=str(error)) from error
            code = "E94" if is_url(path) else "E66"
            raise LacyError(code, place=store.place, path=store.place, why=str(error)) from error
        except BaseException:
            store.close()
            raise
        self.names = self._linker.exact
        self._facts: OrderedDict[Any, tuple[float, list[Fact], bool]] = OrderedDict()

    def settings(self) -> dict[str, Any]:
        """What the answers depend on, beside the database's content."""
        return {"place": self._store.place, "layout": repr(self._data.layout), "cap": self.max_rows}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Every value of the subject of each text; an error names what was not found.

        A database that may be slow is asked in a thread, so that a caller's timeout ends it.
        """
        if not self._store.blocking:
            return [self._reply(request) for request in requests]
        return await self._turns.ask(self._reply, requests)

    def close(self) -> None:
        """Close the database; asking afterwards gives replies with an error."""
        self._store.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def link(self, text: str) -> str | None:
        """The subject that a text is about: whom its last paragraph names first."""
        found, _ = self._linker.find(text)
        return found.name if found else None

    def facts(self, subject: str) -> list[tuple[str, str]]:
        """The (relation, value) pairs of a subject, at most ``max_rows``."""
        found, _ = self._look_up(self.names.spelled(subject))
        return [(relation, ways[0]) for relation, ways in found]

    # ------------------------------------------------------------------------------- answering

    def _reply(self, request: Request) -> Reply:
        begin = time.perf_counter()
        try:
            link, found, cut, why = self._found(request)
        except (StoreError, _Twice) as error:
            return self._nothing(str(error), begin, fault=isinstance(error, StoreError))
        if link is None:
            return self._nothing(why, begin)
        note = f", first {self.max_rows} of more facts" if cut else ""
        note += f"; {link.note}" if link.note else ""
        subject = request.subject if request.subject and not link.note else link.name
        offered = []
        for relation, stored in found:
            ways = [
                way for way in map(one_line, stored) if len(way) <= LONGEST_VALUE and _seen(way)
            ]
            if not ways:
                continue
            evidence = one_line(f"{link.name} · {relation} · {ways[0]} ({self.name}{note})")
            alternatives = self.alternatives.get(relation, 1.0)
            for text in dict.fromkeys(t for way in ways for t in completions(request.text, way)):
                offered.append(Candidate(text, evidence, relation, alternatives, subject))
        if not offered:
            return self._nothing(f"all it can say of {subject!r} has just been said", begin)
        return Reply(tuple(offered), ranked=True, seconds=time.perf_counter() - begin)

    def _found(self, request: Request) -> tuple[Link | None, list[Fact], bool, str]:
        """Whom a request is about, the facts, whether there are more; or why there are none."""
        if request.subject:
            name = self.names.spelled(request.subject)
            found, cut = self._look_up(name)
            if found:
                return Link(name), found, cut, ""
            link, why = self._linker.resolve(request.subject)
            why = why or f"it does not know {request.subject!r}"
        else:
            link, why = self._linker.find(request.text)
            why = why or "no name that it knows occurs in the text"
        if link is not None:
            found, cut = self._look_up(link.name)
            if found:
                return link, found, cut, ""
            why = f"it does not know {link.name!r}"
        return None, [], False, why

    def _nothing(self, why: str, begin: float, *, fault: bool = False) -> Reply:
        seconds = time.perf_counter() - begin
        return Reply(error=f"{self.name}: {why}", seconds=seconds, fault=fault)

    def _look_up(self, subject: str) -> tuple[list[Fact], bool]:
        """Facts of a subject, and whether there are more than ``max_rows``.

        Raises:
            StoreError: the database did not answer.
            _Twice: several entries are called so.
        """
        keys = self._keys.get(self._one(subject), None if self._data.keyed else (subject,))
        if isinstance(keys, _Several):
            raise _Twice(f"several entries are called {subject!r}")
        if keys is None:
            return [], False
        with self._lock:
            if keys in self._facts:
                at, found, cut = self._facts[keys]
                if not self._store.blocking or time.monotonic() - at < _OLD_SECONDS:
                    self._facts.move_to_end(keys)
                    return found, cut
        found, cut = self._data.of(keys, self.max_rows)
        with self._lock:
            self._facts[keys] = (time.monotonic(), found, cut)
            while len(self._facts) > _REMEMBER_SUBJECTS:
                self._facts.popitem(last=False)
        return found, cut

    def _read_names(self) -> Iterable[str]:
        """All names, and for each normalised name the keys of its facts.

        Without a key column, the keys of a subject are the spellings of its name. With one, a name
        that has two keys is ambiguous.
        """
        self._keys: dict[str, tuple[Any, ...] | _Several] = {}
        owners: dict[str, str] = {}
        names: dict[str, None] = {}
        for key, owner, name in self._data.subjects():
            names[name] = None
            one = self._one(name)
            before = self._keys.get(one, ())
            if isinstance(before, _Several) or key in before:
                continue
            whose = one if owner in ("", name) else self._one(owner)
            other = bool(before) and (self._data.keyed or owners[one] != whose)
            owners[one] = whose
            self._keys[one] = _Several() if other else (*before, key)
        for one, owner in () if self._data.keyed else owners.items():
            if owner != one and isinstance(self._keys[one], tuple):  # a further name
                self._keys[one] = self._keys.get(owner, self._keys[one])
        return names


class _Several:
    """In place of a key: several entries have this name."""


class _Twice(Exception):
    """A name is that of several entries."""


def _found(
    catalogue: Catalogue, place: str, table: str, columns: Sequence[str]
) -> tuple[str, list[str]]:
    """The table and its columns as the database spells them; raises if they do not exist."""
    if table in catalogue.unreadable:
        raise LacyError("E74", path=place, table=table, why=catalogue.unreadable[table])
    home = spelled(table, catalogue.tables)
    if home is None:
        raise LacyError("E67", path=place, table=table, found=_listed(catalogue.tables))
    there = catalogue.tables[home]
    found = []
    for column in columns:
        known = spelled(column, there)
        if why := catalogue.unreadable.get(f"{home}.{column}"):
            raise LacyError("E74", path=place, table=f"{home}.{column}", why=why)
        if known is None:
            raise LacyError("E68", path=place, table=home, column=column, found=_listed(there))
        found.append(known)
    return home, found


def _seen(value: str) -> bool:
    """Whether there is anything to see in a value: a zero-width space is no word."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
