"""Frame what workers and server send: numbers as JSON, then the bytes of codecs.

    length of the JSON (4 bytes) | JSON | payloads, whose lengths are in the JSON

All of it is counted as bytes sent.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from typing import Any

from lacy.errors import LacyError

MOST_HEADER = 100_000
"""Maximum number of bytes of the JSON."""


def pack_message(about: dict[str, Any], payloads: Sequence[bytes] = ()) -> bytes:
    """Return the bytes of a message."""
    text = json.dumps({**about, "lengths": [len(p) for p in payloads]}, separators=(",", ":"))
    encoded = text.encode()
    return struct.pack("<I", len(encoded)) + encoded + b"".join(payloads)


def unpack_message(data: bytes, numbers: dict[str, type]) -> tuple[dict[str, Any], list[bytes]]:
    """Return the numbers and payloads of a message.

    Args:
        data: what ``pack_message`` returned.
        numbers: names and types of the entries that must be there; ``float`` also accepts None.

    Raises:
        LacyError: E356, the bytes are no such message.
    """
    try:
        (length,) = struct.unpack_from("<I", data)
        if length > MOST_HEADER:
            raise ValueError
        about = json.loads(data[4 : 4 + length])
        lengths = [int(n) for n in about["lengths"]]
    except (struct.error, ValueError, TypeError, KeyError, RecursionError):
        raise LacyError("E356", why="it is no message between worker and server") from None
    for name, kind in numbers.items():
        value = about.get(name)
        good = isinstance(value, kind) and not isinstance(value, bool)
        if kind is float:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            good = value is None or (number and math.isfinite(value))
        if not good:
            raise LacyError("E356", why=f"its entry {name} is {value!r}")
    first, payloads = 4 + length, []
    for count in lengths:
        if count < 0 or first + count > len(data):
            raise LacyError("E356", why="it is cut off")
        payloads.append(data[first : first + count])
        first += count
    if first != len(data):
        raise LacyError("E356", why="it has bytes after its end")
    return about, payloads
