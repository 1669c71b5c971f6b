"""Read rows of Parquet files and Arrow tables; an unreadable value drops only its cell or row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lacy._text import first_line
from lacy.corpus.files import PlacedRow, ReadOptions, Skip, decoded
from lacy.corpus.metadata import UnreadableValue

if TYPE_CHECKING:
    import pyarrow as pa

NEEDED = ("id", "title", "person", "subject", "marks")
"""Columns that are still read, besides the text, if another column is damaged."""


def parquet_rows(path: Path, options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
    """Yield the rows of a Parquet file, with one row group in memory at a time.

    If a column that is not needed is damaged, the file is read without most other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = 0
    try:
        with pq.ParquetFile(path) as file:
            names = columns(file.schema_arrow, options.columns)
            for few in (False, True):
                if few:
                    names = [n for n in names if n in (options.text_field, *NEEDED)]
                try:
                    batches = file.iter_batches(batch_size=1024, columns=names)
                    rows = arrow_rows(batches, str(path), options, skip, start=done)
                    for number, place, row in rows:
                        done = number
                        if row is not None:
                            yield place, row
                    return
                except (pa.ArrowException, OSError) as error:
                    if few:
                        raise
                    why = f"read without most columns from row {done + 1} on: {first_line(error)}"
                    options.note("damaged column", str(path), why)
    except (pa.ArrowException, OSError) as error:
        skip("damaged Parquet", str(path), first_line(error))


def columns(schema: pa.Schema, needed: Collection[str]) -> list[str]:
    """Return the columns to read: the needed ones, and every other one that has plain values.

    Images and vectors are skipped.
    """
    import pyarrow.types as kinds

    plain = (
        kinds.is_boolean, kinds.is_integer, kinds.is_floating, kinds.is_string,
        kinds.is_large_string, kinds.is_temporal, kinds.is_decimal, kinds.is_null,
    )  # fmt: skip

    def fits(kind: pa.DataType) -> bool:
        if kinds.is_dictionary(kind):
            kind = kind.value_type
        return any(test(kind) for test in plain)

    return [field.name for field in schema if field.name in needed or fits(field.type)]


def arrow_rows(
    batches: Iterable[pa.RecordBatch | pa.Table],
    name: str,
    options: ReadOptions,
    skip: Skip,
    *,
    start: int = 0,
) -> Iterator[tuple[int, str, dict[str, Any] | None]]:
    """Yield number, place and fields of each row; the fields are None if the text is unreadable.

    Args:
        batches: tables of any size.
        name: source name that begins each place in messages.
        options: names the text column.
        skip: called for texts that are not UTF-8.
        start: number of rows to skip because an earlier call yielded them.
    """
    rows = _numbered(batches, options.text_field)
    for number, row in islice(rows, start, None):
        place = f"{name}:{number}"
        text = row.get(options.text_field)
        if isinstance(text, bytes):
            row[options.text_field] = text = decoded(text, place, skip)
            if text is None:
                yield number, place, None
                continue
        yield number, place, row


def _numbered(
    batches: Iterable[pa.RecordBatch | pa.Table], text_field: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    for batch in batches:
        values: dict[str, Sequence[Any]] = {}
        for place, field in enumerate(batch.schema):
            if field.name not in values:
                column = batch.column(place)
                values[field.name] = _values(column, strings=field.name != text_field)
        for index in range(batch.num_rows):
            number += 1
            yield number, {name: column[index] for name, column in values.items()}


def _values(column: Any, *, strings: bool) -> list[Any]:
    """Return a column's values; a value that Python cannot represent becomes ``UnreadableValue``.

    Strings are read as bytes, because Arrow's UTF-8 check would fail for the whole batch.
    """
    import pyarrow as pa
    import pyarrow.types as kinds

    try:
        if kinds.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if kinds.is_string(column.type) or kinds.is_large_string(column.type):
            found = column.cast(pa.large_binary()).to_pylist()
            return [_string(value) for value in found] if strings else found
        values: list[Any] = column.to_pylist()
        return values
    except Exception:  # dates beyond Python's range, nanoseconds, types that pyarrow cannot convert
        return [_one(column, index) for index in range(len(column))]


def _string(value: bytes | None) -> Any:
    try:
        return value if value is None else value.decode("utf-8")
    except UnicodeDecodeError as error:
        return UnreadableValue(f"byte 0x{error.object[error.start]:02x} is not UTF-8")


def _one(column: Any, index: int) -> Any:
    try:
        return column[index].as_py()
    except Exception as error:
        return UnreadableValue(first_line(error))
