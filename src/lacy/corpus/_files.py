"""Files as streams of rows, each with its place; damage is told to a listener, never fatal.

Everything here holds at most one line, one Parquet row group or one document in memory.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

Complain = Callable[[str, str, str], None]
"""Called with reason, place (``file:line``) and detail, for every piece that is left out."""

Row = tuple[str, dict[str, Any]]
"""Place (``file:line`` or ``file:row``) and the fields found there."""

CHUNK = 1 << 20
LARGEST = 64 << 20
"""Longest line or text file in bytes. More is no document but a damaged or foreign file."""

BOM = b"\xef\xbb\xbf"


# -------------------------------------------------------------------------------------- bytes


def chunks(path: Path, complain: Complain) -> Iterator[bytes]:
    """The bytes of a file, unzipped where its name ends in ``.gz``.

    A zipped file that is cut or damaged gives everything before the damage.
    """
    try:
        with open(path, "rb") as file:
            pieces = iter(lambda: file.read(CHUNK), b"")
            yield from _unzipped(path, pieces, complain) if path.suffix == ".gz" else pieces
    except OSError as error:
        complain("unreadable file", str(path), error.strerror or str(error))


def _unzipped(path: Path, pieces: Iterator[bytes], complain: Complain) -> Iterator[bytes]:
    """Members of a gzip file one after the other, in pieces of bounded size."""
    member: Any = None
    for piece in pieces:
        while piece:
            if member is None:
                piece = piece.lstrip(b"\0")  # padding after a member, as gzip itself allows
                if not piece:
                    break
                member = zlib.decompressobj(wbits=31)
            try:
                data = member.decompress(piece, CHUNK)
            except zlib.error as error:
                complain("damaged gzip", str(path), str(error))
                return
            if data:
                yield data
            piece = member.unused_data if member.eof else member.unconsumed_tail
            if member.eof:
                member = None
    if member is None:
        return
    try:
        rest = member.flush()
    except zlib.error as error:
        complain("damaged gzip", str(path), str(error))
        return
    if rest:
        yield rest
    if not member.eof:
        complain("truncated gzip", str(path), "the file ends in the middle; read up to there")


def lines(path: Path, complain: Complain) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their newline; longer ones than ``LARGEST`` are left out."""
    parts: list[bytes] = []
    number, size = 1, 0
    for chunk in chunks(path, complain):
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            size += end - start
            if size > LARGEST:
                complain("line too long", f"{path}:{number}", f"more than {LARGEST} bytes")
            else:
                yield number, b"".join([*parts, chunk[start:end]])
            number, parts, size, start = number + 1, [], 0, end + 1
        size += len(chunk) - start
        parts = [*parts, chunk[start:]] if size <= LARGEST else []
    if size > LARGEST:
        complain("line too long", f"{path}:{number}", f"more than {LARGEST} bytes")
    elif size:
        yield number, b"".join(parts)


# --------------------------------------------------------------------------------------- text


def decoded(data: bytes, place: str, complain: Complain) -> str | None:
    """UTF-8 text, or None after a complaint that names the first bad byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        utf16 = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        what = "the file is UTF-16" if utf16 else f"byte 0x{data[error.start]:02x} is not UTF-8"
        complain("wrong encoding", place, f"{what} (at byte {error.start})")
        return None


def whole(path: Path, complain: Complain) -> bytes | None:
    """All bytes of a file; None after a complaint where it is empty, too large or unreadable."""
    try:
        empty = path.stat().st_size == 0
    except OSError as error:
        complain("unreadable file", str(path), error.strerror or str(error))
        return None
    parts: list[bytes] = []
    size = 0
    for chunk in () if empty else chunks(path, complain):
        size += len(chunk)
        if size > LARGEST:
            complain("text file too long", str(path), f"more than {LARGEST} bytes; use .jsonl")
            return None
        parts.append(chunk)
    if empty:
        complain("empty text", str(path), "")
    return b"".join(parts) if parts else None  # chunks has said why


def text_rows(path: Path, text_field: str, complain: Complain) -> Iterator[Row]:
    """A text file as one row; line ends become line feeds, a byte order mark goes away."""
    data = whole(path, complain)
    if data is None:
        return
    data = data.removeprefix(BOM)
    bad_line = 1 + data[: _first_bad(data)].count(b"\n")
    text = decoded(data, f"{path}:{bad_line}", complain)
    if text is not None:
        yield str(path), {text_field: text.replace("\r\n", "\n").replace("\r", "\n")}


def _first_bad(data: bytes) -> int:
    """Position of the first byte that is not UTF-8; 0 if all are."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def json_rows(path: Path, text_field: str, complain: Complain) -> Iterator[Row]:
    """One JSON object per line; blank lines do not count."""
    del text_field
    for number, data in lines(path, complain):
        place = f"{path}:{number}"
        if number == 1:
            data = data.removeprefix(BOM)
        if not data.strip():
            continue
        line = decoded(data, place, complain)
        if line is None:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            complain("not JSON", place, str(error))
            continue
        if isinstance(row, dict):
            yield place, row
        else:
            complain("not an object", place, f"a JSON {type(row).__name__}")


# -------------------------------------------------------------------------------------- Arrow


def parquet_rows(path: Path, text_field: str, complain: Complain) -> Iterator[Row]:
    """Rows of a Parquet file, one row group in memory at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = columns(file.schema_arrow, text_field)
            batches = file.iter_batches(batch_size=1024, columns=names)
            yield from arrow_rows(batches, str(path), text_field, complain)
    except (pa.ArrowException, OSError) as error:
        complain("damaged Parquet", str(path), str(error).splitlines()[0])


def columns(schema: pa.Schema, text_field: str) -> list[str]:
    """The text, the marks, and every column with plain values (no images, vectors, structs)."""
    import pyarrow.types as kinds

    def plain(kind: pa.DataType) -> bool:
        return not (kinds.is_nested(kind) or kinds.is_binary(kind) or kinds.is_large_binary(kind))

    return [
        field.name for field in schema if field.name in (text_field, "marks") or plain(field.type)
    ]


def arrow_rows(
    batches: Iterator[pa.RecordBatch | pa.Table], name: str, text_field: str, complain: Complain
) -> Iterator[Row]:
    """Rows of Arrow batches; text is decoded row by row, so that one bad row costs one row."""
    number = 0
    for batch in batches:
        columns = {field: batch.column(field) for field in batch.schema.names}
        values = {
            field: _bytes(column) if field == text_field else column.to_pylist()
            for field, column in columns.items()
        }
        for index in range(batch.num_rows):
            number += 1
            place = f"{name}:{number}"
            row = {field: column[index] for field, column in values.items()}
            if isinstance(row.get(text_field), bytes):
                row[text_field] = decoded(row[text_field], place, complain)
                if row[text_field] is None:
                    continue
            yield place, row


def _bytes(column: Any) -> list[Any]:
    """Strings as raw bytes, without the check that would fail for the whole batch."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kinds.is_string(column.type) or kinds.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    values: list[Any] = column.to_pylist()
    return values
