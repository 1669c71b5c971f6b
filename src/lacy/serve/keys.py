"""API keys, and how many texts each has requested recently.

Only hashes are stored (``keyfile``). Keys are made from 32 random bytes, so a plain hash is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lacy.errors import LacyError
from lacy.serve.keyfile import MOST_NAME, Key, change, is_name, read

LOG = logging.getLogger("lacy.serve")

Stamp = tuple[int, ...] | None
"""Identifies a version of a file by its metadata; None: there is no file."""

ROUNDING = 1e-6
"""Texts by which a rate may be exceeded, so that waiting for ``Retry-After`` is always enough."""


class Unreadable(Exception):
    """The file of keys is missing or invalid, so all keys are refused."""


class Keys:
    """The keys that a server accepts, and how many texts each has requested recently.

    Args:
        keys: the accepted keys.
        clock: returns seconds; for tests.
        path: their file, which is read again whenever it has changed. If it cannot be read, all
            keys are refused.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        clock: Callable[[], float] = time.monotonic,
        path: Path | None = None,
    ) -> None:
        self.keys = list(keys)
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}
        self._stamp = _stamp(path)
        self._readable = True

    @classmethod
    def load(cls, path: str | Path) -> Keys:
        """Read a file of keys, and read it again when it changes.

        Raises:
            LacyError: E13, no such file; E12, the file is invalid.
        """
        path = Path(path)
        keys = cls([], path=path)  # takes the stamp before the file is read
        keys.keys = read(path)
        return keys

    def add(self, path: str | Path, name: str, per_minute: float | None = None) -> str:
        """Make a key and add its hash to the file; the key itself is not stored.

        Several processes may do so at the same time.

        Raises:
            LacyError: E12, the file or the name is invalid; E145, the file stays locked.
        """
        if not is_name(name) or not name.isprintable():
            why = f"a name has 1 to {MOST_NAME} printable characters"
            do = "give the key another name: --new-key ada"
            raise LacyError("E12", key="new_key", value=name, why=why, do=do)
        text = f"lacy-{secrets.token_urlsafe(32)}"
        key = Key(name, hash_of(text), per_minute)
        self.path = Path(path)
        self.keys = change(self.path, lambda known: [*known, key], self.keys)
        self._stamp = ()  # read again: another process may have added a key as well
        return text

    def find(self, text: str) -> Key | None:
        """The key of a given secret; takes as long for a wrong one as for a right one.

        Raises:
            Unreadable: the file of keys cannot be read any more.
        """
        self._refresh()
        given, found = hash_of(text), None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def wait(self, key: Key, texts: int = 1, paid: int = 0) -> float:
        """Count texts against a key's rate.

        Args:
            key: the key of the request.
            texts: number of texts, at most ``most_of(key)``.
            paid: how many of them have been counted already.

        Returns:
            0.0, or the seconds after which the key may request so many. In that case nothing is
            counted, and the texts already counted are returned.
        """
        if key.per_minute is None:
            return 0.0
        now, most = self._clock(), self.most_of(key)
        with self._lock:
            left, then = self._left.get(key.sha256, (most, now))
            left = min(most, left + (now - then) * key.per_minute / 60 + paid)
            enough = left + ROUNDING >= texts
            self._left[key.sha256] = (left - texts if enough else left, now)
        return 0.0 if enough else (texts - left) * 60 / key.per_minute

    def most_of(self, key: Key) -> float:
        """Most texts that a key may request at once."""
        return float("inf") if key.per_minute is None else max(1.0, key.per_minute)

    @property
    def shared(self) -> bool:
        """Whether several keys share the server."""
        return len(self.keys) > 1

    def _refresh(self) -> None:
        """Read the file again if it has changed.

        Raises:
            Unreadable: the file is missing or invalid.
        """
        if self.path is None:
            return
        with self._lock:
            stamp = _stamp(self.path)
            if stamp != self._stamp:
                self._stamp = stamp
                self._reread(self.path)
            if not self._readable:
                raise Unreadable

    def _reread(self, path: Path) -> None:
        before = [key.name for key in self.keys]
        try:
            self.keys, self._readable = read(path), True
            known = {key.sha256 for key in self.keys}
            self._left = {hashed: left for hashed, left in self._left.items() if hashed in known}
            if before != [key.name for key in self.keys]:
                LOG.warning("%s has changed: it now has %d keys", path, len(self.keys))
        except (LacyError, OSError) as error:
            self.keys, self._readable = [], False
            LOG.error("nobody can ask until %s is repaired: %s", path, error)


def hash_of(text: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _stamp(path: Path | None) -> Stamp:
    if path is None:
        return None
    try:
        known = os.stat(path)
    except OSError:
        return None
    return (known.st_mtime_ns, known.st_ctime_ns, known.st_size, known.st_ino, known.st_dev)
