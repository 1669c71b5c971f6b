"""Answers kept in a SQLite file, so that the same question is asked, waited for and paid once.

The file may be used by several processes at once. It is only a cache: what goes wrong with it (it
is locked, full, damaged) costs a look-up, never an answer.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.sources.protocol import Source, guarded
from lacy.sources.resilience import DEFAULT_TIMEOUT, about
from lacy.types import Candidate, Reply, Request

FORMAT = 1
"""Part of every key: answers of another format are never read."""

DEFAULT_ROWS = 10_000
"""Most answers kept."""

_BUSY_SECONDS = 2.0
"""How long to wait for another process that writes."""

_MAGIC = b"SQLite format 3\0"
_SUFFIXES = (".sqlite", ".sqlite3", ".db", ".cache")
"""Names under which a damaged file is taken for one of ours, and set aside."""

_INHERITED: list[sqlite3.Connection] = []
"""Connections that a child process got from its parent."""

_TABLE = """
CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, used INTEGER NOT NULL, reply TEXT NOT NULL)
WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answer_used ON answer (used);
"""
_TOUCHED = "UPDATE answer SET used = ? WHERE key = ?"
_WRITTEN = "INSERT OR REPLACE INTO answer VALUES (?, ?, ?)"
_BOUNDED = """
DELETE FROM answer WHERE key IN (
  SELECT key FROM answer ORDER BY used, key LIMIT max(0, (SELECT COUNT(*) FROM answer) - ?))
"""


class Cached:
    """Keeps a source's answers; errors are never kept, "no candidate" is.

    An answer is found by the source (its type, name, ``settings()`` and ``path`` where it has
    these), the text, unit and subject. It costs nothing the second time, and its evidence says so.

    Args:
        source: whom to ask.
        path: the file; made with its folder where there is none. A damaged one is set aside
            with a warning.
        rows: most answers kept; the least recently used one goes first.
        version: part of what an answer is found by; change it when the source changed (another
            index, another model behind the same address).
        timeout: seconds for one ``ask`` of the source.

    Raises:
        LacyError: E12, a setting out of range; E73, the file cannot be made or read, or holds
            something else.
    """

    def __init__(
        self,
        source: Source,
        path: str | Path,
        *,
        rows: int = DEFAULT_ROWS,
        version: str = "",
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> None:
        if rows < 1:
            do = "give at least 1"
            raise LacyError("E12", key="rows", value=rows, why="too little", do=do)
        self.source, self.name = source, source.name
        self.path, self.rows, self.timeout = Path(path), rows, timeout
        self.hits = self.misses = 0
        self._about = json.dumps([about(source), version], sort_keys=True, default=str)
        self._lock = threading.Lock()
        self._closed = False
        self._db: sqlite3.Connection | None = None
        self._process = 0
        self._open()

    @property
    def inner(self) -> tuple[Source, ...]:
        """The source that it stands around."""
        return (self.source,)

    def settings(self) -> dict[str, Any]:
        """What the answers depend on: the source."""
        return {"source": self._about}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Kept replies, and the source's for what is not kept; equal requests are asked once."""
        begin = time.perf_counter()
        keys = [self._key(request) for request in requests]
        kept = self._read(set(keys))
        seconds = time.perf_counter() - begin
        new = {key: r for key, r in zip(keys, requests, strict=True) if key not in kept}
        self.hits += sum(key in kept for key in keys)
        self.misses += sum(key not in kept for key in keys)
        replies = await guarded(self.source, list(new.values()), timeout=self.timeout)
        fresh = dict(zip(new, replies, strict=True))
        self._write({key: reply for key, reply in fresh.items() if not reply.error})
        found: list[Reply] = []
        for key in keys:
            if key in kept:
                found.append(replace(kept[key], seconds=seconds))
            else:
                found.append(fresh[key])
                fresh[key] = replace(fresh[key], cost=0.0)  # paid once
        return found

    def close(self) -> None:
        """Close the file; the source is asked for everything from then on."""
        with self._lock:
            self._closed = True
            self._drop()

    def __enter__(self) -> Cached:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Answers kept at the moment, of all sources that share the file."""
        with self._lock:
            if self._db is None:
                return 0
            count: int = self._db.execute("SELECT COUNT(*) FROM answer").fetchone()[0]
            return count

    def _key(self, request: Request) -> str:
        parts = [FORMAT, self._about, request.text, request.unit, request.subject]
        parts += [request.tokens] if request.tokens else []
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _read(self, keys: set[str]) -> dict[str, Reply]:
        """Kept replies of these keys, which are marked as used."""
        found: dict[str, Reply] = {}
        with self._lock:
            self._after_fork()
            try:
                db = self._db
                for key in keys if db is not None else ():
                    assert db is not None
                    row = db.execute("SELECT reply FROM answer WHERE key = ?", (key,))
                    for (text,) in row:
                        found[key] = _reply(text)
                if found:
                    self._do([(_TOUCHED, [(time.time_ns(), key) for key in found])])
            except (ValueError, TypeError, KeyError, AttributeError):
                return {}  # written by something else; it is overwritten
            except sqlite3.Error as error:
                self._broken(error)
        return found

    def _write(self, replies: dict[str, Reply]) -> None:
        with self._lock:
            self._after_fork()
            if not replies or self._db is None:
                return
            try:
                rows = [(key, time.time_ns(), _text(reply)) for key, reply in replies.items()]
                self._do([(_WRITTEN, list(rows)), (_BOUNDED, [(self.rows,)])])
            except (TypeError, ValueError):
                return  # a source's own kind of candidate, which JSON does not know
            except sqlite3.Error as error:
                self._broken(error)

    def _do(self, work: list[tuple[str, list[tuple[object, ...]]]]) -> None:
        """Statements as one transaction, which takes its turn before it reads."""
        assert self._db is not None
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for statement, rows in work:
                self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.rollback()
            raise

    def _open(self) -> None:
        """Open the file, a new one where it is damaged."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if _is_text_of_others(self.path):
                raise OSError("it holds something else; name another file")
            try:
                self._db = _patiently(self.path)
            except sqlite3.OperationalError:  # locked, not allowed: nothing to set aside
                raise
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
                self._db = _patiently(self.path)
            self._process = os.getpid()
        except (OSError, sqlite3.Error) as error:
            raise LacyError("E73", path=self.path, why=str(error)) from error

    def _broken(self, error: sqlite3.Error) -> None:
        """Go on after an error: a busy file is left out this time, a damaged one made anew."""
        if isinstance(error, sqlite3.OperationalError):
            return
        self._drop()
        if not self._closed:
            try:
                self._open()  # as another process may have set it aside already
            except LacyError as second:
                warnings.warn(f"answers are not kept: {second.what}", RuntimeWarning, stacklevel=4)

    def _set_aside(self, error: sqlite3.Error) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}-{os.getpid()}")
        os.replace(self.path, aside)
        for end in ("-wal", "-shm"):  # of the damaged file: they must not meet the new one
            if (beside := self.path.with_name(self.path.name + end)).exists():
                os.replace(beside, aside.with_name(aside.name + end))
        why = f"{self.path} is damaged ({error}): it was renamed to {aside.name}, a new one begins"
        warnings.warn(why, RuntimeWarning, stacklevel=4)

    def _after_fork(self) -> None:
        """A connection belongs to one process; a child opens its own, and leaves the other be."""
        if self._db is not None and self._process != os.getpid():
            _INHERITED.append(self._db)  # closing it would let go of the parent's locks
            self._db = None
            self._open()

    def _drop(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _is_text_of_others(path: Path) -> bool:
    """Whether a name, such as notes.txt, and what is there say that it was never a database."""
    if path.suffix.lower() in ("", *_SUFFIXES) or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    return bool(head) and head != _MAGIC


def _patiently(path: Path) -> sqlite3.Connection:
    """``_connect``; processes that begin a file together take turns."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            return _connect(path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _connect(path: Path) -> sqlite3.Connection:
    """An open file with its table.

    Raises:
        sqlite3.DatabaseError: it is damaged; OperationalError: it cannot be used now.
    """
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if tables and "answer" not in tables:
            raise sqlite3.OperationalError("it is a database of something else; name another file")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_TABLE)
        (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise sqlite3.DatabaseError(sound.splitlines()[0])
    except sqlite3.Error:
        db.close()
        raise
    return db


def _text(reply: Reply) -> str:
    return json.dumps(asdict(reply))


def _reply(text: str) -> Reply:
    """A kept reply: free of charge, and its evidence says where it comes from."""
    kept = json.loads(text)
    found = [Candidate(**candidate) for candidate in kept.pop("candidates")]
    note = "kept from an earlier answer"
    candidates = tuple(
        replace(c, evidence=f"{c.evidence}; {note}" if c.evidence else note) for c in found
    )
    return replace(Reply(**kept), candidates=candidates, cost=0.0)
