"""API keys: only their hashes are stored; each may have a rate of its own.

The file is JSON: ``{"keys": [{"name": "ada", "sha256": "...", "per_minute": 60}]}``. A key is a
random text of 32 bytes, so that a plain hash is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lacy.errors import LacyError
from lacy.run import write_atomic


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key."""

    name: str
    sha256: str
    per_minute: float | None = None
    """Requests per minute; None: no limit."""


class Keys:
    """The keys that a server accepts, and how much each has asked lately.

    Args:
        keys: the accepted ones.
        clock: seconds, for tests.
    """

    def __init__(self, keys: Sequence[Key], clock: Callable[[], float] = time.monotonic) -> None:
        self.keys = list(keys)
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}

    @classmethod
    def load(cls, path: str | Path) -> Keys:
        """Read a file of keys.

        Raises:
            LacyError: E13 no such file, E12 something else in it.
        """
        path = Path(path)
        if not path.is_file():
            raise LacyError(
                "E13", path=path, do=f"make a key: lacy serve --keys {path} --new-key NAME"
            )
        try:
            return cls([_key(entry) for entry in json.loads(path.read_text("utf-8"))["keys"]])
        except (ValueError, TypeError, KeyError) as error:
            do = 'write {"keys": [{"name": ..., "sha256": ..., "per_minute": ...}]}'
            raise LacyError("E12", key="keys", value=str(path), why=str(error), do=do) from error

    def add(self, path: str | Path, name: str, per_minute: float | None = None) -> str:
        """A new key, whose hash is added to the file; it is shown once and stored nowhere."""
        text = f"lacy-{secrets.token_urlsafe(32)}"
        self.keys.append(Key(name, hash_of(text), per_minute))
        data = {"keys": [asdict(key) for key in self.keys]}
        write_atomic(path, json.dumps(data, indent=2) + "\n")
        return text

    def find(self, text: str) -> Key | None:
        """The key of a text; as slow for a wrong one as for a right one."""
        given, found = hash_of(text), None
        for key in self.keys:
            if hmac.compare_digest(key.sha256, given):
                found = key
        return found

    def wait(self, key: Key) -> float:
        """Counts a request: 0.0, or the seconds after which the key may ask again."""
        if key.per_minute is None:
            return 0.0
        now, most = self._clock(), max(1.0, key.per_minute)
        with self._lock:
            left, then = self._left.get(key.sha256, (most, now))
            left = min(most, left + (now - then) * key.per_minute / 60)
            if left < 1:
                self._left[key.sha256] = (left, now)
                return (1 - left) * 60 / key.per_minute
            self._left[key.sha256] = (left - 1, now)
            return 0.0


def hash_of(text: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _key(entry: Any) -> Key:
    key = Key(**entry)
    if not (isinstance(key.name, str) and isinstance(key.sha256, str) and len(key.sha256) == 64):
        raise ValueError("a key has a name and a sha256 of 64 hexadecimal digits")
    if key.per_minute is not None and not 0 < float(key.per_minute) < float("inf"):
        raise ValueError(f"per_minute of {key.name} is not a positive number")
    return Key(key.name, key.sha256.lower(), key.per_minute)
