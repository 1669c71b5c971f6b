"""Reads JSON as rows in bounded memory; unusable rows are left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lacy.corpus import _files
from lacy.corpus._files import Complain, Row, Wanted, chunks, decoded, lines
from lacy.corpus.encoding import as_utf8

_HEAD = 50
"""Lines examined to distinguish one object per line from one object over many lines."""

_LONG, _MOST = 16 << 20, 4_000_000
"""Most lists and objects in a row; each takes 60 bytes of memory but only two in the file."""

_IN_STRING = re.compile(rb'["\\]')
_OUTSIDE = re.compile(rb'["\[\]{},]')


def parsed(line: str) -> Any:
    """Parses JSON; an integer with too many digits becomes infinity.

    Raises:
        ValueError: it is not JSON, or nested too deep.
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


def json_lines(path: Path, wanted: Wanted, complain: Complain) -> Iterator[Row]:
    """One JSON object per line; blank lines are ignored."""
    for number, data in lines(path, complain, wanted.codec):
        place = f"{path}:{number}"
        row = _parsed(data, place, complain)
        if isinstance(row, dict):
            yield place, row
        elif row is not None:
            complain("not an object", place, f"a JSON {_name(row)}")


def _parsed(data: bytes, place: str, complain: Complain) -> Any:
    """The value, or None after a complaint."""
    if len(data) > _LONG and data.count(b"[") + data.count(b"{") > _MOST:
        complain("not JSON", place, f"more than {_MOST:,} lists and objects in it")
        return None
    line = decoded(data, place, complain)
    if line is None:
        return None
    try:
        found = parsed(line)
    except ValueError as error:
        complain("not JSON", place, str(error))
        return None
    if found is None:
        complain("not an object", place, "a JSON null")
    return found


def _name(value: Any) -> str:
    names = {str: "string", int: "number", float: "number", list: "list", bool: "boolean"}
    return names.get(type(value), type(value).__name__)


# ------------------------------------------------------------------------------- files of JSON


def json_file(path: Path, wanted: Wanted, complain: Complain) -> Iterator[Row]:
    """Rows of a JSON file in any common layout.

    An array of objects or strings, one object per line, concatenated objects, or one object that is
    a text or contains a list of texts.
    """
    pieces = as_utf8(chunks(path, lambda *_: None), wanted.codec)
    head = next((piece for piece in pieces if piece.strip()), b"").lstrip()
    if head.startswith(b"["):
        yield from _elements(path, wanted, complain, 1)
    elif any(line.startswith(b"{") and _is_object(line) for line in head.split(b"\n", _HEAD)):
        for place, row in json_lines(path, wanted, complain):
            yield from _unfolded(place, row, wanted.text_field)
    else:
        yield from _elements(path, wanted, complain, 0)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(parsed(line.decode("utf-8")), dict)
    except ValueError:
        return False


def _elements(path: Path, wanted: Wanted, complain: Complain, depth: int) -> Iterator[Row]:
    """The elements of an array (depth 1), or concatenated values (depth 0)."""
    stream = as_utf8(chunks(path, complain), wanted.codec)
    for number, data in enumerate(_split(stream, depth, path, complain), 1):
        place = f"{path}:{number}"
        if data is None:
            complain("text too long", place, f"more than {_files.LARGEST} bytes")
            continue
        row = _parsed(data, place, complain)
        if isinstance(row, str):
            row = {wanted.text_field: row}
        if isinstance(row, dict):
            yield from _unfolded(place, row, wanted.text_field)
        elif row is not None:
            complain("not an object", place, f"a JSON {_name(row)}")


def _split(
    stream: Iterable[bytes], wanted_depth: int, path: Path, complain: Complain
) -> Iterator[bytes | None]:
    """The bytes of values at a depth, found by brackets and quotes; None if one is too long."""
    depth, inside, skip = 0, False, 0
    parts: list[bytes] = []
    size = 0

    def taken(piece: bytes) -> bytes | None:
        nonlocal parts, size
        value = b"".join([*parts, piece]) if size + len(piece) <= _files.LARGEST else None
        parts, size = [], 0
        return value

    for piece in stream:
        at, start = skip, 0
        skip = 0
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
        skip = max(0, at - len(piece))
        size += len(piece) - start
        if size > _files.ENDLESS * _files.LARGEST:
            break
        parts = [*parts, piece[start:]] if size <= _files.LARGEST else []
    if size > _files.LARGEST:
        yield None
    elif wanted_depth:
        complain("not JSON", str(path), "the array has no end: the file is cut or damaged")
    elif rest := b"".join(parts).strip():
        yield rest


def _unfolded(place: str, row: dict[str, Any], text_field: str) -> Iterator[Row]:
    """The row, or the rows in one of its lists (``{"data": [{"text": ...}]}``)."""
    lists = [] if text_field in row else [v for v in row.values() if isinstance(v, list)]
    for rows in lists:
        inner = [r["row"] if isinstance(r, dict) and isinstance(r.get("row"), dict) else r
                 for r in rows]  # fmt: skip
        if any(isinstance(r, dict) and text_field in r for r in inner):
            for number, one in enumerate(inner, 1):
                yield f"{place}:{number}", one if isinstance(one, dict) else {}
            return
    yield place, row
