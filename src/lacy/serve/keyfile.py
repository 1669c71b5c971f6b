"""The file of keys: ``{"keys": [{"name": "ada", "sha256": "...", "per_minute": 60}]}``.

It is readable only by its owner, and several processes can add keys at the same time.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lacy.errors import LacyError

MOST_BYTES = 1 << 20
MOST_NAME = 200

PATIENCE = 30.0
"""Seconds to wait for another process that is changing the file."""


@dataclass(frozen=True, slots=True)
class Key:
    """One API key."""

    name: str
    sha256: str
    per_minute: float | None = None
    """Texts per minute; None: no limit."""


def read(path: Path) -> list[Key]:
    """The keys in a file.

    Raises:
        LacyError: E13, no such file; E12, the file is invalid.
    """
    if not path.is_file():
        raise LacyError("E13", path=path, do=f"make a key: lacy serve --keys {path} --new-key NAME")
    with path.open("rb") as file:
        raw = file.read(MOST_BYTES + 1)
    try:
        if len(raw) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        return [_key(number, entry) for number, entry in enumerate(_entries(json.loads(raw)), 1)]
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:
        why = str(error)
    do = 'write {"keys": [{"name": ..., "sha256": ..., "per_minute": ...}]}'
    raise LacyError("E12", key="keys", value=str(path), why=why, do=do)


def change(
    path: Path, how: Callable[[list[Key]], list[Key]], first: Sequence[Key] = ()
) -> list[Key]:
    """Change the keys in a file while it is locked.

    Args:
        path: the file; its folder is created if needed.
        how: returns the new keys, given the old ones.
        first: the old keys if the file does not exist yet.

    Returns:
        The keys that are now in the file.

    Raises:
        LacyError: E12, the file is invalid; E145, it stays locked.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path):
        keys = how(read(path) if path.exists() else list(first))
        _write(path, json.dumps({"keys": [asdict(key) for key in keys]}, indent=2) + "\n")
    return keys


def _entries(data: Any) -> list[Any]:
    keys = data.get("keys") if isinstance(data, dict) else None
    if not isinstance(keys, list):
        raise ValueError('it has no list "keys"')
    return keys


def _key(number: int, entry: Any) -> Key:
    """Validates an entry and returns its key.

    Raises:
        ValueError: the entry is invalid.
    """
    where = f"key {number}"
    if not isinstance(entry, dict) or not {"name", "sha256"} <= entry.keys():
        raise ValueError(f"{where} has no name or no sha256")
    if more := entry.keys() - {"name", "sha256", "per_minute"}:
        raise ValueError(f"{where} has an unknown field: {min(more)[:MOST_NAME]!r}")
    name, hashed, rate = entry["name"], entry["sha256"], entry.get("per_minute")
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME:
        raise ValueError(f"the name of {where} is not a string of 1 to {MOST_NAME} characters")
    if not isinstance(hashed, str) or not re.fullmatch("[0-9a-fA-F]{64}", hashed):
        raise ValueError(f"the sha256 of {where} is not 64 hexadecimal digits")
    if rate is not None and not _is_rate(rate):
        raise ValueError(f"the per_minute of {where} is not a positive number")
    return Key(name, hashed.lower(), rate)


def _is_rate(rate: Any) -> bool:
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        return False
    try:
        return float(rate) > 0 and math.isfinite(rate)
    except OverflowError:
        return False


def _write(path: Path, text: str) -> None:
    """Writes atomically, and readable only by the owner (unlike ``write_atomic``)."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process in at a time; locks the folder because the file itself is replaced.

    Raises:
        LacyError: E145, another process keeps the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows cannot lock folders
        yield
        return
    handle, end = os.open(path.parent, os.O_RDONLY), time.monotonic() + PATIENCE
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise LacyError("E145", path=path) from None
                time.sleep(0.02)
            except OSError:  # some network file systems have no such locks
                break
        yield
    finally:
        os.close(handle)
