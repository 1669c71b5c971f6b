"""The file of keys: ``{"keys": [{"name": "ada", "sha256": "...", "per_minute": 60}]}``.

It is readable only by its owner, and several processes can add keys at the same time.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lacy._parse import parse_json
from lacy.disk import lock, write_atomic
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
        return [_key(number, entry) for number, entry in enumerate(_entries(parse_json(raw)), 1)]
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
    with _locked(path):
        keys = how(read(path) if path.exists() else list(first))
        text = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2) + "\n"
        write_atomic(path, text, private=True)
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
    if not isinstance(name, str) or not is_name(name):
        raise ValueError(f"the name of {where} is not a string of 1 to {MOST_NAME} characters")
    if not isinstance(hashed, str) or not re.fullmatch("[0-9a-fA-F]{64}", hashed):
        raise ValueError(f"the sha256 of {where} is not 64 hexadecimal digits")
    if rate is not None and not _is_rate(rate):
        raise ValueError(f"the per_minute of {where} is not a positive number")
    return Key(name, hashed.lower(), rate)


def is_name(name: str) -> bool:
    """Whether a key may be called so: a file with any other name could not be read again."""
    return 0 < len(name) <= MOST_NAME


def _is_rate(rate: Any) -> bool:
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        return False
    try:
        return float(rate) > 0 and math.isfinite(rate)
    except OverflowError:
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process in at a time.

    Raises:
        LacyError: E145, another process keeps the lock.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock(path.parent, name=f".{path.name}.lock", wait=PATIENCE))
        except LacyError as error:
            if error.code != "E150":
                raise
            raise LacyError("E145", path=path) from error
        yield
