"""Read JSON as rows in bounded memory; unusable rows are skipped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lacy.corpus import files
from lacy.corpus.encoding import as_utf8
from lacy.corpus.files import PlacedRow, ReadOptions, Skip, chunks, decoded, lines

_HEAD = 50
"""Number of lines examined to tell JSON lines from one object that spans many lines."""

_LONG = 16 << 20
_MAX_CONTAINERS = 4_000_000
"""Maximum number of lists and objects per row: two bytes in the file ("[]") take 60 in memory."""

_IN_STRING = re.compile(rb'["\\]')
_OUTSIDE = re.compile(rb'["\[\]{},]')


def parse_value(line: str) -> Any:
    """Parse JSON; an integer with too many digits for Python becomes infinity.

    Raises:
        ValueError: the line is not JSON, or its nesting is too deep.
    """
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise ValueError("nested too deep") from None
    except ValueError:  # Python's limit for the digits of an integer
        try:
            return json.loads(line, parse_int=float)
        except RecursionError:
            raise ValueError("nested too deep") from None


def json_lines(path: Path, options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
    """Yield one JSON object per line; blank lines are ignored."""
    for number, data in lines(path, skip, options.codec):
        place = f"{path}:{number}"
        row = _parse_row(data, place, skip)
        if row is not None:
            yield place, row


def _parse_row(
    data: bytes, place: str, skip: Skip, text_field: str | None = None
) -> dict[str, Any] | None:
    """Return a JSON object, or a string as ``{text_field: string}``; skip anything else (None)."""
    if len(data) > _LONG and data.count(b"[") + data.count(b"{") > _MAX_CONTAINERS:
        skip("not JSON", place, f"more than {_MAX_CONTAINERS:,} lists and objects in it")
        return None
    line = decoded(data, place, skip)
    if line is None:
        return None
    try:
        found = parse_value(line)
    except ValueError as error:
        skip("not JSON", place, str(error))
        return None
    if isinstance(found, str) and text_field is not None:
        return {text_field: found}
    if isinstance(found, dict):
        return found
    skip("not an object", place, f"a JSON {_TYPE_NAMES.get(type(found), 'value')}")
    return None


_TYPE_NAMES = {
    str: "string", int: "number", float: "number", bool: "boolean", list: "list", type(None): "null"
}  # fmt: skip


def json_file(path: Path, options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
    """Yield the rows of a JSON file in any common layout.

    Layouts: an array of objects or strings, one object per line, concatenated objects, or one
    object that is a text or contains a list of texts.
    """
    pieces = as_utf8(chunks(path, lambda *_: None), options.codec)
    head = next((piece for piece in pieces if piece.strip()), b"").lstrip()
    if head.startswith(b"["):
        yield from _elements(path, options, skip, 1)
    elif any(line.startswith(b"{") and _is_object(line) for line in head.split(b"\n", _HEAD)):
        for place, row in json_lines(path, options, skip):
            yield from _nested_rows(place, row, options.text_field)
    else:
        yield from _elements(path, options, skip, 0)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parse_value(line.decode("utf-8")), dict)
    except ValueError:
        return False


def _elements(path: Path, options: ReadOptions, skip: Skip, depth: int) -> Iterator[PlacedRow]:
    """Yield the elements of an array (``depth`` 1) or concatenated values (``depth`` 0)."""
    stream = as_utf8(chunks(path, skip), options.codec)
    for number, data in enumerate(_split(stream, depth, path, skip), 1):
        place = f"{path}:{number}"
        if data is None:
            skip("text too long", place, f"more than {files.MAX_BYTES} bytes")
            continue
        row = _parse_row(data, place, skip, options.text_field)
        if row is not None:
            yield from _nested_rows(place, row, options.text_field)


def _split(
    stream: Iterable[bytes], wanted_depth: int, path: Path, skip: Skip
) -> Iterator[bytes | None]:
    """Yield the bytes of each value at ``wanted_depth``, or None if it is too long.

    Finds the ends of values by brackets and quotes alone, so that a large file is never parsed as
    a whole.
    """
    depth, inside, resume = 0, False, 0
    parts: list[bytes] = []
    size = 0

    def taken(piece: bytes) -> bytes | None:
        nonlocal parts, size
        value = b"".join([*parts, piece]) if size + len(piece) <= files.MAX_BYTES else None
        parts, size = [], 0
        return value

    for piece in stream:
        at, start = resume, 0
        resume = 0
        while found := (_IN_STRING if inside else _OUTSIDE).search(piece, at):
            at, sign = found.end(), found.group()
            if sign == b"\\":
                at += 1
            elif sign == b'"':
                inside = not inside
            elif sign in b"[{":
                depth += 1
                if depth == 1 == wanted_depth:
                    start = at
            elif sign in b"]}":
                depth -= 1
                if depth == 0 == wanted_depth:
                    yield taken(piece[start:at])
                    start = at
                elif depth < wanted_depth:
                    value = taken(piece[start : at - 1])
                    if value is None or value.strip():
                        yield value
                    return
            elif depth == 1 == wanted_depth:
                yield taken(piece[start : at - 1])
                start = at
        resume = max(0, at - len(piece))
        size += len(piece) - start
        if size > files.ENDLESS_FACTOR * files.MAX_BYTES:
            break
        parts = [*parts, piece[start:]] if size <= files.MAX_BYTES else []
    if size > files.MAX_BYTES:
        yield None
    elif wanted_depth:
        skip("not JSON", str(path), "the array has no end: the file is cut or damaged")
    elif rest := b"".join(parts).strip():
        yield rest


def _nested_rows(place: str, row: dict[str, Any], text_field: str) -> Iterator[PlacedRow]:
    """Yield the row itself, or the rows in one of its lists (``{"data": [{"text": ...}]}``)."""
    lists = [] if text_field in row else [v for v in row.values() if isinstance(v, list)]
    for rows in lists:
        inner = [r["row"] if isinstance(r, dict) and isinstance(r.get("row"), dict) else r
                 for r in rows]  # fmt: skip
        if any(isinstance(r, dict) and text_field in r for r in inner):
            for number, one in enumerate(inner, 1):
                yield f"{place}:{number}", one if isinstance(one, dict) else {}
            return
    yield place, row
