"""Cache replies in a SQLite file, so that equal requests are asked and paid only once.

Several processes can use the file at the same time. If it is locked, full or damaged, the source is
asked as if there were no cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lacy._require import require_at_least
from lacy.errors import LacyError
from lacy.sources.protocol import Source, guarded
from lacy.sources.wrappers import WRAPPED_TIMEOUT, Wrapper, fingerprint, with_evidence
from lacy.types import Candidate, Reply, Request

CACHE_FORMAT = 1
"""Part of every key, so that replies stored in another format are not used."""

DEFAULT_ROWS = 10_000
"""Maximum number of cached replies."""

_BUSY_SECONDS = 2.0
"""Seconds to wait while another process is writing."""

_MAGIC = b"SQLite format 3\0"
_SUFFIXES = ("", ".sqlite", ".sqlite3", ".db", ".cache")
"""A damaged file with one of these suffixes may be our cache, so it may be renamed."""

_INHERITED: list[sqlite3.Connection] = []
"""Connections that a forked process inherited. Never closed: closing would drop the parent's
locks."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answer (key TEXT PRIMARY KEY, used INTEGER NOT NULL, reply TEXT NOT NULL)
WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answer_used ON answer (used);
"""
_TOUCH = "UPDATE answer SET used = ? WHERE key = ?"
_INSERT = "INSERT OR REPLACE INTO answer VALUES (?, ?, ?)"
_EVICT = """
DELETE FROM answer WHERE key IN (
  SELECT key FROM answer ORDER BY used, key LIMIT max(0, (SELECT COUNT(*) FROM answer) - ?))
"""


class Cached(Wrapper):
    """Caches the replies of a source except errors; replies without candidates are cached, too.

    The key consists of the source (its class, name, ``settings()`` and ``path``) and the request's
    text, unit and subject. A cached reply costs nothing, and its evidence says that it is cached.

    Args:
        source: the source to ask.
        path: the cache file, created if needed. A damaged file is renamed with a warning.
        rows: maximum number of cached replies; the least recently used are dropped first.
        version: part of the key; change it when the source has changed but its settings have not,
            for example if another model runs behind the same address.
        timeout: seconds for one ``ask`` of the source.

    Raises:
        LacyError: E12, a setting is out of range; E73, the file cannot be created or read, or it
            contains something else.
    """

    def __init__(
        self,
        source: Source,
        path: str | Path,
        *,
        rows: int = DEFAULT_ROWS,
        version: str = "",
        timeout: float | None = WRAPPED_TIMEOUT,
    ) -> None:
        require_at_least("rows", rows, 1)
        super().__init__(source, timeout)
        self.path, self.rows = Path(path), rows
        self.hits = self.misses = 0
        self._source_key = json.dumps([fingerprint(source), version], sort_keys=True, default=str)
        self._lock = threading.Lock()
        self._closed = False
        self._db: sqlite3.Connection | None = None
        self._process = 0
        self._open()

    def settings(self) -> dict[str, Any]:
        """Return everything that influences the answers: the source and the version."""
        return {"source": self._source_key}

    async def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Return cached replies; ask the source once for each distinct request without one."""
        begin = time.perf_counter()
        keys = [self._key(request) for request in requests]
        cached = self._read(set(keys))
        seconds = time.perf_counter() - begin
        new = {key: r for key, r in zip(keys, requests, strict=True) if key not in cached}
        hits = sum(key in cached for key in keys)
        self.hits += hits
        self.misses += len(keys) - hits
        replies = await guarded(self.source, list(new.values()), timeout=self.timeout)
        fresh = dict(zip(new, replies, strict=True))
        self._write({key: reply for key, reply in fresh.items() if not reply.error})
        found: list[Reply] = []
        for key in keys:
            if key in cached:
                found.append(replace(cached[key], seconds=seconds))
            else:
                found.append(fresh[key])
                fresh[key] = replace(
                    fresh[key], cost=0.0
                )  # of equal requests, only the first costs
        return found

    def close(self) -> None:
        """Close the file; later requests go to the source directly."""
        with self._lock:
            self._closed = True
            self._disconnect()

    def __enter__(self) -> Cached:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of cached replies of all sources that share the file."""
        with self._lock:
            if self._db is None:
                return 0
            count: int = self._db.execute("SELECT COUNT(*) FROM answer").fetchone()[0]
            return count

    def _key(self, request: Request) -> str:
        parts = [CACHE_FORMAT, self._source_key, request.text, request.unit, request.subject]
        parts += [request.tokens] if request.tokens else []
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _read(self, keys: set[str]) -> dict[str, Reply]:
        """Return the cached replies of these keys, and mark them as recently used."""
        found: dict[str, Reply] = {}

        def read(db: sqlite3.Connection) -> None:
            for key in keys:
                for (text,) in db.execute("SELECT reply FROM answer WHERE key = ?", (key,)):
                    # Ignore an invalid row (from another program); it will be overwritten.
                    with suppress(ValueError, TypeError, KeyError, AttributeError):
                        found[key] = _decode(text)
            if found:
                _transaction(db, [(_TOUCH, [(time.time_ns(), key) for key in found])])

        self._use(read)
        return found

    def _write(self, replies: dict[str, Reply]) -> None:
        rows = []
        for key, reply in replies.items():
            with suppress(TypeError, ValueError):  # JSON cannot represent this candidate
                rows.append((key, time.time_ns(), json.dumps(asdict(reply))))
        if rows:
            self._use(lambda db: _transaction(db, [(_INSERT, rows), (_EVICT, [(self.rows,)])]))

    def _use(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Run ``work`` on the open file; after a database error, continue without the cache."""
        with self._lock:
            if (
                self._db is not None and self._process != os.getpid()
            ):  # forked: needs its own connection
                _INHERITED.append(self._db)
                self._db = None
                self._open()
            if self._db is None:
                return
            try:
                work(self._db)
            except sqlite3.OperationalError:
                pass  # locked or full
            except sqlite3.Error:
                self._reopen()

    def _open(self) -> None:
        """Open the file; if it is damaged, replace it with a new one."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if _is_foreign(self.path):
                raise OSError("it holds something else; name another file")
            try:
                self._db = _connect_with_retry(self.path)
            except sqlite3.OperationalError:  # locked or not permitted, so not damaged
                raise
            except sqlite3.DatabaseError as error:
                self._rename_damaged(error)
                self._db = _connect_with_retry(self.path)
            self._process = os.getpid()
        except (OSError, sqlite3.Error) as error:
            raise LacyError("E73", path=self.path, why=str(error)) from error

    def _reopen(self) -> None:
        """Open a damaged file again, because another process may already have replaced it."""
        self._disconnect()
        if not self._closed:
            try:
                self._open()
            except LacyError as error:
                warnings.warn(f"answers are not cached: {error.what}", RuntimeWarning, stacklevel=5)

    def _rename_damaged(self, error: sqlite3.Error) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}-{os.getpid()}")
        os.replace(self.path, aside)
        for end in ("-wal", "-shm"):  # logs of the damaged file must not be applied to the new one
            if (log := self.path.with_name(self.path.name + end)).exists():
                os.replace(log, aside.with_name(aside.name + end))
        why = f"{self.path} is damaged ({error}): renamed to {aside.name}, starting a new cache"
        warnings.warn(why, RuntimeWarning, stacklevel=5)

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _is_foreign(path: Path) -> bool:
    """True if the file is clearly not one of our caches (by suffix and magic bytes)."""
    if path.suffix.lower() in _SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    return bool(head) and head != _MAGIC


def _connect_with_retry(path: Path) -> sqlite3.Connection:
    """Connect; retry if another process is creating the file at the same moment."""
    end = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            return _connect(path)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file and create its table if needed.

    Raises:
        sqlite3.DatabaseError: the file is damaged; OperationalError: it cannot be used now.
    """
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
        if tables and "answer" not in tables:
            raise sqlite3.OperationalError("it is a database of something else; name another file")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
        (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict.splitlines()[0])
    except sqlite3.Error:
        db.close()
        raise
    return db


def _transaction(db: sqlite3.Connection, work: Sequence[tuple[str, Sequence[Any]]]) -> None:
    """Run statements, each with several rows of values, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement, rows in work:
            db.executemany(statement, rows)
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


def _decode(text: str) -> Reply:
    """Return a stored reply without cost and with a note in its evidence."""
    stored = json.loads(text)
    found = [Candidate(**candidate) for candidate in stored.pop("candidates")]
    return replace(Reply(**stored), candidates=with_evidence(found, "from the cache"), cost=0.0)
