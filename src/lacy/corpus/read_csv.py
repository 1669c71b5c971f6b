"""Read tables with a header line; columns are separated by commas, tabs, ``;`` or ``|``."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lacy._text import SURROGATE
from lacy.corpus import files
from lacy.corpus.files import GUESSED_NOTE, PlacedRow, ReadOptions, Skip, lines

TEXT_COLUMNS = (
    "text", "content", "body", "article", "document", "raw_content", "passage", "sentence",
    "abstract", "story", "message", "description", "review", "comment",
)  # fmt: skip
"""Common names of the text column, best first; used if the caller does not name one."""

_DELIMITERS = (",", ";", "\t", "|")


def csv_rows(path: Path, options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
    """Yield the rows of a table with a header line."""
    csv.field_size_limit(max(csv.field_size_limit(), files.MAX_BYTES))
    source = _text_lines(path, options, skip)
    head = next((line for line in source if line.strip()), None)
    if head is None:
        skip("empty text", str(path), "")
        return
    if match := re.fullmatch(r'"?sep=(.)"?\s*', head):
        delimiter, head = match[1], next((line for line in source if line.strip()), "")
    else:
        delimiter = _delimiter(head, options.text_field)
    names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter), [])]
    text = _text_column(names, options.text_field)
    if text is None:
        yield str(path), dict.fromkeys(filter(None, names), "")
        return
    if text != options.text_field:
        options.note(f"the column {text!r} is used as the text", str(path), "")
    for place, cells in _records(path, source, delimiter, skip):
        yield from _row(names, cells, text, options.text_field, place, skip)


class _RecordingLines:
    """Iterator for a CSV reader that remembers the lines of the current row."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.row: list[str] = []
        self.ended = False

    def __iter__(self) -> _RecordingLines:
        return self

    def __next__(self) -> str:
        try:
            line = next(self._lines)
        except StopIteration:
            self.ended = True
            raise
        self.row.append(line)
        return line


def _records(
    path: Path, source: Iterable[str], delimiter: str, skip: Skip
) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows after the header with their places.

    An unclosed quotation mark would swallow the rest of the file. If there is one, it and all later
    quotation marks are read as ordinary characters.
    """
    recorded = _RecordingLines(source)
    reader = csv.reader(recorded, delimiter=delimiter)
    number = 2
    while True:
        recorded.row.clear()
        try:
            cells = next(reader, None)
        except csv.Error:  # a cell is not closed
            cells, recorded.ended = [], True
        if cells is None:
            return
        if recorded.ended:
            break
        if cells:
            yield f"{path}:{number}", cells
        number += sum(line.count("\n") for line in recorded.row)
    skip("quote without an end", f"{path}:{number}", "quotes are read as text from here on")
    rest = chain(recorded.row.copy(), source)
    for cells in csv.reader(rest, delimiter=delimiter, quoting=csv.QUOTE_NONE):
        if cells:
            yield f"{path}:{number}", cells
        number += 1


def _row(
    names: Sequence[str],
    cells: list[str],
    text: str,
    text_field: str,
    place: str,
    skip: Skip,
) -> Iterator[PlacedRow]:
    if any(map(str.strip, cells[len(names) :])):
        why = f"{len(cells)} cells, {len(names)} columns: is a text with commas not in quotes?"
        skip("row longer than the header", place, why)
        return
    row: dict[str, Any] = {}
    for name, value in zip(names, cells, strict=False):
        row.setdefault(name, value)
    row.pop("", None)
    text_value = row.pop(text, "")
    if SURROGATE.search(text_value):
        skip("wrong encoding", place, "a byte that is not UTF-8")
        return
    yield place, {**row, text_field: text_value}


def _text_lines(path: Path, options: ReadOptions, skip: Skip) -> Iterator[str]:
    """Yield lines with their line ends; bytes that are not UTF-8 are handled later, row by row."""

    def guessed() -> None:
        options.note(GUESSED_NOTE, str(path), "")

    for _, data in lines(path, skip, options.codec, guess=guessed, blanks=True):
        line = data.decode("utf-8", "surrogateescape").removesuffix("\r")
        if "\r" in line:  # a line end of classic Mac OS, or a line break inside a cell
            yield from (part + "\n" for part in line.replace("\r\n", "\n").split("\r"))
        else:
            yield line + "\n"


def _delimiter(head: str, text_field: str) -> str:
    """Return the delimiter that yields a text column, or else the one that yields most columns."""

    def fit(sign: str) -> tuple[bool, int]:
        names = [name.strip() for name in next(csv.reader([head], delimiter=sign), [])]
        return _text_column(names, text_field) is not None, len(names)

    return max(_DELIMITERS, key=fit)


def _text_column(names: Sequence[str], text_field: str) -> str | None:
    if text_field in names or text_field != ReadOptions().text_field:
        return text_field if text_field in names else None
    by_lower = {name.lower(): name for name in reversed(names)}
    return next((by_lower[name] for name in TEXT_COLUMNS if name in by_lower), None)
