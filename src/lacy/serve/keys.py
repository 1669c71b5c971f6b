"""API keys: their file, their rate limits, and the client of a request.

The file has only hashes: ``{"keys": [{"name": "ada", "sha256": "...", "per_minute": 60}]}``. Keys
are 32 random bytes, which cannot be guessed, so a plain hash is enough. Only the file's owner can
read it, and several processes can add keys at the same time.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import pydantic.dataclasses
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from lacy.disk import lock, write_atomic
from lacy.errors import LacyError
from lacy.serve.errors import ApiError

LOG = logging.getLogger("lacy.serve")

MAX_FILE_BYTES = 1 << 20
MAX_NAME = 200

LOCK_SECONDS = 30.0
"""Maximum time to wait for another process that is changing the file."""

ROUNDING = 1e-6
"""Tolerance in texts, so that a request after ``Retry-After`` never fails by a rounding error."""

FileVersion = tuple[int, ...] | None
"""Identifies a version of a file by its metadata; None if there is no file."""


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Key:
    """One API key."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-fA-F]{64}$", to_lower=True)]
    per_minute: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Maximum number of texts per minute; None for no limit."""

    @property
    def burst(self) -> float:
        """Maximum number of texts that may be requested at once."""
        return float("inf") if self.per_minute is None else max(1.0, self.per_minute)


class KeyFile(BaseModel):
    """The contents of a key file."""

    keys: list[Key]


class KeysUnreadable(Exception):
    """Raised when the key file is missing or invalid, so that all keys are refused."""


class Keys:
    """The keys that a server accepts, with their rate limits.

    Args:
        keys: the accepted keys.
        clock: returns the current time in seconds; replaced in tests.
        path: the key file, which is read again whenever it has changed. If it cannot be read, all
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
        self._remaining: dict[str, tuple[float, float]] = {}
        """For each hash: the number of texts that may be requested, and the time of that count."""
        self._version = _version_of(path)
        self._readable = True

    @classmethod
    def load(cls, path: str | Path) -> Keys:
        """Read a file of keys, and read it again when it changes.

        Raises:
            LacyError: E13, no such file; E12, the file is invalid.
        """
        path = Path(path)
        keys = cls([], path=path)  # records the file's version before it is read
        keys.keys = read_keys(path)
        return keys

    def add(self, path: str | Path, name: str, per_minute: float | None = None) -> str:
        """Create a key, add its hash to the file, and return the key, which is not stored.

        Several processes may do so at the same time.

        Raises:
            LacyError: E12, the file or the name is invalid; E145, the file stays locked.
        """
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            why = f"a name has 1 to {MAX_NAME} printable characters"
            do = "give the key another name: --new-key ada"
            raise LacyError("E12", key="new_key", value=name, why=why, do=do)
        text = f"lacy-{secrets.token_urlsafe(32)}"
        self.path = Path(path)
        self.keys = _append_key(self.path, Key(name, _hash_of(text), per_minute), self.keys)
        self._version = ()  # forces a new read, as another process may have added a key too
        return text

    def find(self, text: str) -> Key | None:
        """Return the key with this secret, in constant time (so that timing reveals nothing).

        Raises:
            KeysUnreadable: the key file cannot be read any more.
        """
        self._refresh()
        digest, match = _hash_of(text), None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, digest):
                match = key
        return match

    def charge(self, key: Key, texts: int = 1, charged: int = 0) -> float:
        """Count texts against a key's rate limit.

        Args:
            key: the key of the request.
            texts: number of texts, at most ``key.burst``.
            charged: number of these texts that have been counted already.

        Returns:
            0.0, or the seconds after which the key may request that many texts. In this case
            nothing is counted, and the texts already counted are given back.
        """
        if key.per_minute is None:
            return 0.0
        now = self._clock()
        with self._lock:
            remaining, counted_at = self._remaining.get(key.sha256, (key.burst, now))
            remaining += (now - counted_at) * key.per_minute / 60 + charged
            remaining = min(key.burst, remaining)
            enough = remaining + ROUNDING >= texts
            self._remaining[key.sha256] = (remaining - texts if enough else remaining, now)
        return 0.0 if enough else (texts - remaining) * 60 / key.per_minute

    def _refresh(self) -> None:
        """Read the file again if it has changed.

        Raises:
            KeysUnreadable: the file is missing or invalid.
        """
        if self.path is None:
            return
        with self._lock:
            version = _version_of(self.path)
            if version != self._version:
                self._version = version
                self._reread(self.path)
            if not self._readable:
                raise KeysUnreadable

    def _reread(self, path: Path) -> None:
        names_before = [key.name for key in self.keys]
        try:
            self.keys, self._readable = read_keys(path), True
            hashes = {key.sha256 for key in self.keys}
            self._remaining = {k: left for k, left in self._remaining.items() if k in hashes}
            if names_before != [key.name for key in self.keys]:
                LOG.warning("%s has changed: it now has %d keys", path, len(self.keys))
        except (LacyError, OSError) as error:
            self.keys, self._readable = [], False
            LOG.error("all keys are refused until %s is repaired: %s", path, error)


@dataclass
class KeyClient:
    """The client of a request.

    Args:
        keys: all accepted keys; None if the server needs no key.
        key: the key of the request.
    """

    keys: Keys | None = None
    key: Key | None = None
    charged: int = 0
    """Number of texts that have been counted for this request."""

    @property
    def owner(self) -> str | None:
        """The hash of the request's key, if several keys share the server."""
        return self.key.sha256 if self.keys and self.key and len(self.keys.keys) > 1 else None

    def charge(self, texts: int) -> None:
        """Count the texts of this request against the key's rate limit.

        Args:
            texts: number of all texts of the request; those counted before are not counted again.

        Raises:
            ApiError: 400, more texts than the limit ever allows at once; 429, more than it allows
                now.
        """
        if self.keys is None or self.key is None:
            return
        if texts > self.key.burst:
            why = f"{texts} texts (prompts times n) exceed this key's limit of "
            why += f"{self.key.burst:g} per minute"
            raise ApiError(400, why, "above_limit", "n")
        if seconds := self.keys.charge(self.key, texts, self.charged):
            self.charged = 0
            why = f"this key may ask for {self.key.per_minute:g} texts per minute"
            raise ApiError(429, why, "rate_limit_exceeded", retry=seconds)
        self.charged = texts


def read_keys(path: Path) -> list[Key]:
    """Return the keys in a file.

    Raises:
        LacyError: E13, no such file; E12, the file is invalid.
    """
    if not path.is_file():
        raise LacyError("E13", path=path, do=f"make a key: lacy serve --keys {path} --new-key NAME")
    with path.open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    try:
        if len(raw) > MAX_FILE_BYTES:
            raise ValueError(f"it has more than {MAX_FILE_BYTES:,} bytes")
        return KeyFile.model_validate_json(raw).keys
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))[:MAX_NAME]
        why = f"{place}: {first['msg']}" if place else first["msg"]
    except ValueError as error:
        why = str(error)
    do = 'write {"keys": [{"name": ..., "sha256": ..., "per_minute": ...}]}'
    raise LacyError("E12", key="keys", value=str(path), why=why, do=do)


def _append_key(path: Path, key: Key, initial: Sequence[Key]) -> list[Key]:
    """Add a key to a file while it is locked, and return all keys in it.

    Args:
        path: the file; its folder is created if needed.
        key: the new key.
        initial: keys to write first if the file does not exist yet.

    Raises:
        LacyError: E12, the file is invalid; E145, it stays locked.
    """
    path = path.resolve()
    try:
        with lock(path.parent, name=f".{path.name}.lock", wait=LOCK_SECONDS):
            keys = [*(read_keys(path) if path.exists() else initial), key]
            text = json.dumps({"keys": [asdict(one) for one in keys]}, indent=2) + "\n"
            write_atomic(path, text, private=True)
    except LacyError as error:
        if error.code != "E150":
            raise
        raise LacyError("E145", path=path) from error
    return keys


def _hash_of(text: str) -> str:
    """Return the hash that is stored for a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _version_of(path: Path | None) -> FileVersion:
    if path is None:
        return None
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_dev)
