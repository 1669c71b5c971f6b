"""A SQLite table of facts as a source: every value of the subject is a candidate.

The database does not guess which fact is meant: the SLM, which knows the grammar but not the fact,
ranks the candidates by their likelihood in context. So that rare kinds of value (a birth date, one
of thousands) can be compared with common ones (a country, one of ten), each candidate carries the
effective number of alternatives of its relation, counted once in the table.

The file is opened read-only, every query binds its parameters and is cut off by time and rows.
"""

from __future__ import annotations

import math
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lacy.errors import LacyError
from lacy.sources.names import NameIndex
from lacy.sources.text import completions
from lacy.types import Candidate, Reply, Request

DEFAULT_TIMEOUT = 1.0
"""Seconds that one look-up may take."""

DEFAULT_MAX_ROWS = 200
"""Most facts of one subject that become candidates."""

_STEPS_BETWEEN_CHECKS = 2_000
"""SQLite virtual-machine steps between two looks at the clock."""

_REMEMBER_SUBJECTS = 1_024


class Database:
    """Facts ``(subject, relation, value)`` from a SQLite file.

    Args:
        path: the file.
        table: the table of facts.
        subject: its column with whom or what a fact is about.
        relation: its column with the kind of fact.
        value: its column with the value (text or number; NULL is no fact).
        name: who speaks; the file's name by default.
        timeout: seconds that one look-up may take.
        max_rows: most facts of one subject that are offered.

    Raises:
        LacyError: E65 no such file, E66 not a database that can be read, E67 no such table, E68 no
            such column.
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
    ) -> None:
        self.path = Path(path)
        self.name = name or self.path.name
        self.timeout = timeout
        self.max_rows = max_rows
        self._lock = threading.Lock()
        self._db = _open(self.path)
        try:
            self._check(table, (subject, relation, value))
            self._table = _quoted(table)
            self._subject, self._relation, self._value = map(_quoted, (subject, relation, value))
            self.names = NameIndex(self._read_names())
            self.alternatives = self._read_alternatives()
        except sqlite3.Error as error:
            self._db.close()
            raise LacyError("E66", path=self.path, why=str(error)) from error
        except LacyError:
            self._db.close()
            raise
        self._facts: OrderedDict[str, tuple[list[tuple[str, str]], bool]] = OrderedDict()

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Every value of the subject of each text; an error names what was not found."""
        return [self._reply(request) for request in requests]

    def close(self) -> None:
        """Close the file; asking afterwards gives replies with an error."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def link(self, text: str) -> str | None:
        """The subject that a text is about: whom its last paragraph names first."""
        return self.names.find(text)

    def facts(self, subject: str) -> list[tuple[str, str]]:
        """The (relation, value) pairs of a subject, at most ``max_rows``."""
        return self._look_up(subject)[0]

    def _reply(self, request: Request) -> Reply:
        begin = time.perf_counter()
        subject = request.subject or self.link(request.text)
        if subject is None:
            return self._nothing("no name that it knows occurs in the text", begin)
        try:
            rows, cut = self._look_up(self.names.spelled(subject))
        except sqlite3.Error as error:
            return self._nothing(str(error), begin)
        if not rows:
            return self._nothing(f"it does not know {subject!r}", begin)
        note = f", first {self.max_rows} of more facts" if cut else ""
        found = []
        for relation, value in rows:
            evidence = f"{self.names.spelled(subject)} · {relation} · {value} ({self.name}{note})"
            alternatives = self.alternatives.get(relation, 1.0)
            for text in completions(request.text, value):
                found.append(Candidate(text, evidence, relation, alternatives, subject))
        if not found:
            return self._nothing(f"all it knows of {subject!r} has just been said", begin)
        return Reply(tuple(found), ranked=True, seconds=time.perf_counter() - begin)

    def _nothing(self, why: str, begin: float) -> Reply:
        return Reply(error=f"{self.name}: {why}", seconds=time.perf_counter() - begin)

    def _look_up(self, subject: str) -> tuple[list[tuple[str, str]], bool]:
        """Facts of a subject, and whether there are more than ``max_rows``."""
        with self._lock:
            if subject in self._facts:
                self._facts.move_to_end(subject)
                return self._facts[subject]
            # Identifiers were checked against the table's columns and quoted; the value is bound.
            query = (
                f"SELECT {self._relation}, {self._value} FROM {self._table}"
                f" WHERE {self._subject} = ? AND {self._value} IS NOT NULL LIMIT ?"
            )
            with self._deadline():
                rows = self._db.execute(query, (subject, self.max_rows + 1)).fetchall()
            pairs = [(str(relation or ""), _text(value)) for relation, value in rows]
            pairs = list(dict.fromkeys(pair for pair in pairs if pair[1].strip()))
            found = (pairs[: self.max_rows], len(rows) > self.max_rows)
            self._facts[subject] = found
            if len(self._facts) > _REMEMBER_SUBJECTS:
                self._facts.popitem(last=False)
            return found

    @contextmanager
    def _deadline(self) -> Iterator[None]:
        """Interrupt a query that runs longer than ``timeout``."""
        end = time.perf_counter() + self.timeout
        late = False

        def check() -> int:
            nonlocal late
            late = time.perf_counter() > end
            return int(late)

        self._db.set_progress_handler(check, _STEPS_BETWEEN_CHECKS)
        try:
            yield
        except sqlite3.OperationalError as error:
            if late:
                raise sqlite3.OperationalError(f"no answer within {self.timeout:g} s") from error
            raise
        finally:
            self._db.set_progress_handler(None, 0)

    def _check(self, table: str, columns: Sequence[str]) -> None:
        """Raise a clear error unless the table and its columns are there."""
        query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
        tables = [name for (name,) in self._db.execute(query)]
        if table not in tables:
            raise LacyError("E67", path=self.path, table=table, found=_listed(tables))
        info = self._db.execute(f"PRAGMA table_info({_quoted(table)})")
        there = [row[1] for row in info]
        for column in columns:
            if column not in there:
                found = _listed(there)
                raise LacyError("E68", path=self.path, table=table, column=column, found=found)

    def _read_names(self) -> list[str]:
        query = f"SELECT DISTINCT {self._subject} FROM {self._table}"
        return [_text(name) for (name,) in self._db.execute(query) if name is not None]

    def _read_alternatives(self) -> dict[str, float]:
        """``2^entropy`` of each relation's values: how many values it takes, effectively."""
        query = (
            f"SELECT {self._relation}, COUNT(*) FROM {self._table}"
            f" WHERE {self._value} IS NOT NULL GROUP BY {self._relation}, {self._value}"
        )
        total: dict[str, int] = {}
        weighted: dict[str, float] = {}
        for relation, count in self._db.execute(query):
            relation = str(relation or "")
            total[relation] = total.get(relation, 0) + count
            weighted[relation] = weighted.get(relation, 0.0) + count * math.log2(count)
        return {r: 2.0 ** (math.log2(n) - weighted[r] / n) for r, n in total.items()}


def _open(path: Path) -> sqlite3.Connection:
    """A read-only connection to an existing database."""
    if not path.is_file():
        raise LacyError("E65", path=path)
    uri = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        db = sqlite3.connect(uri, uri=True, check_same_thread=False)
    except sqlite3.Error as error:
        raise LacyError("E66", path=path, why=str(error)) from error
    db.text_factory = lambda raw: raw.decode("utf-8", errors="replace")
    try:
        db.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        db.close()
        raise LacyError("E66", path=path, why=str(error)) from error
    return db


def _quoted(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"
