"""Read files as bytes, lines and whole texts; problems go to a callback and are never raised.

At most one line or one text is in memory at a time. Only regular files are read, because a pipe or
device may never end.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacy.corpus import encoding
from lacy.corpus.compression import compression_of, decompress

Skip = Callable[[str, str, str], None]
"""Callback that receives reason, place (``file:line``) and detail of everything skipped."""

PlacedRow = tuple[str, dict[str, Any]]
"""Place (``file:line`` or ``file:row``) and the fields of the row there."""

CHUNK = 1 << 20
MAX_BYTES = 64 << 20
"""Maximum bytes of a line or text file; anything longer is damaged or not a document. Also limits
the bytes of consecutive blank lines.
"""

_HEAD = 16
"""Number of bytes needed to recognise a compressed file."""

ENDLESS_FACTOR = 16
"""Stop reading a file if a line exceeds ``MAX_BYTES`` by this factor: it may never end."""


class Unreadable(Exception):
    """Raised when a file cannot be read at all; ``args`` are reason and detail for the report."""


@dataclass
class PlainText:
    """The plain text of a Markdown, HTML or PDF file."""

    text: str
    title: str = ""
    pages: tuple[int, ...] = ()
    """Offset of each PDF page in the text."""
    note: str = ""
    """A remark for the report, for example about a guessed encoding."""


@dataclass(frozen=True, slots=True)
class RowConverter:
    """Rewrites the fields of rows before their text is read, for formats without one text field.

    Args:
        convert: receives the fields of a row and its place, returns the fields to read instead.
        fields: names of columns that it needs of a Parquet file, even if they contain lists or
            objects, which are otherwise left out.
    """

    convert: Callable[[dict[str, Any], str], dict[str, Any]]
    fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The caller's options for reading files.

    Args:
        text_field: name of the text field of rows.
        codec: Python codec of the texts; None if the caller gave no encoding.
        note: called with reason, place and detail for remarks about data that were read.
        converter: rewrites rows; None keeps them as they are.
    """

    text_field: str = "text"
    codec: str | None = None
    note: Skip = lambda *_: None
    converter: RowConverter | None = None

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns to read whatever they contain."""
        needed = {self.text_field, "marks"}
        return frozenset(needed if self.converter is None else needed | self.converter.fields)


def kind_of(mode: int) -> str:
    """Name the kind of a directory entry that is neither a file nor a folder."""
    kinds = (
        (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"), (stat.S_ISDIR, "folder"),
    )  # fmt: skip
    return next((name for test, name in kinds if test(mode)), "file")


def chunks(path: Path, skip: Skip) -> Iterator[bytes]:
    """Yield the bytes of a file, decompressed if necessary.

    A truncated or damaged compressed file yields everything before the damage.
    """
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if not stat.S_ISREG(mode := os.fstat(file.fileno()).st_mode):
                skip("unreadable file", str(path), f"it is a {kind_of(mode)}")
                return
            head = file.read(max(CHUNK, _HEAD))
            pieces = itertools.chain([head] if head else [], iter(lambda: file.read(CHUNK), b""))
            packed = compression_of(path, head)
            yield from decompress(path, packed, pieces, skip) if packed else pieces
    except OSError as error:
        skip("unreadable file", str(path), error.strerror or str(error))


def lines(
    path: Path,
    skip: Skip,
    codec: str | None = None,
    *,
    guess: Callable[[], object] | None = None,
    blanks: bool = False,
) -> Iterator[tuple[int, bytes]]:
    """Yield lines with their numbers, in UTF-8 and without line feed.

    Lines longer than ``MAX_BYTES`` are skipped. After an endless line or an endless series of blank
    lines, the remaining file is skipped.

    Args:
        path: the file.
        skip: called for everything that is skipped.
        codec: the caller's encoding, if known.
        guess: called if text that is not UTF-8 is read as Windows-1252; None forbids the guess.
        blanks: also yield blank lines; a series of them is one line that contains line feeds.
    """
    parts: list[bytes] = []
    number, size, blank = 1, 0, 0
    for chunk in encoding.as_utf8(chunks(path, skip), codec, guess=guess):
        if not size and not chunk.strip():
            number, blank = number + chunk.count(b"\n"), blank + len(chunk)
            if blank > MAX_BYTES:
                skip("blank lines", f"{path}:{number}", f"more than {MAX_BYTES} bytes of them")
                return
            if blanks:
                yield number, chunk.removesuffix(b"\n")
            continue
        blank, start = 0, 0
        while (end := chunk.find(b"\n", start)) >= 0:
            size += end - start
            if size > MAX_BYTES:
                skip("line too long", f"{path}:{number}", f"more than {MAX_BYTES} bytes")
            else:
                line = b"".join([*parts, chunk[start:end]])
                if blanks or line.strip():
                    yield number, line
            number, parts, size, start = number + 1, [], 0, end + 1
        size += len(chunk) - start
        if size > ENDLESS_FACTOR * MAX_BYTES:
            break
        parts = [*parts, chunk[start:]] if size <= MAX_BYTES else []
    if size > MAX_BYTES:
        skip("line too long", f"{path}:{number}", f"more than {MAX_BYTES} bytes")
    elif size and (line := b"".join(parts)).strip():
        yield number, line


def decoded(data: bytes, place: str, skip: Skip) -> str | None:
    """Decode UTF-8; on failure, report the first bad byte and return None."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"byte 0x{data[error.start]:02x} is not UTF-8"
        skip("wrong encoding", place, f"{what} (at byte {error.start})")
        return None


def read_whole(path: Path, skip: Skip) -> bytes | None:
    """Return all bytes of a file, or None (and call ``skip``) if it cannot be used."""
    try:
        found = path.stat()
        empty = found.st_size == 0 and stat.S_ISREG(found.st_mode)
    except OSError as error:
        skip("unreadable file", str(path), error.strerror or str(error))
        return None
    parts: list[bytes] = []
    size = 0
    for chunk in () if empty else chunks(path, skip):
        size += len(chunk)
        if size > MAX_BYTES:
            skip("text file too long", str(path), f"more than {MAX_BYTES} bytes; use .jsonl")
            return None
        parts.append(chunk)
    if empty:
        skip("empty text", str(path), "")
    return b"".join(parts) if parts else None  # ``chunks`` has already reported the reason


def plain_text_rows(path: Path, options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
    """Yield a text file as one row, with line feeds as line ends and without byte order mark."""
    data = read_whole(path, skip)
    if data is None:
        return
    try:
        found = encoding.decode_text(data, options.codec)
    except encoding.Undecodable as error:
        line = 1 + data[: error.at].count(b"\n")
        skip("wrong encoding", f"{path}:{line}", str(error))
        return
    if found.guessed:
        options.note(GUESSED_NOTE, str(path), "")
    text = found.text.replace("\r\n", "\n").replace("\r", "\n")
    yield str(path), {options.text_field: text}


_UNDERLINE = re.compile(r"([!-/:-@\[-`{-~])\1{2,}\s*")


def rst_rows(path: Path, options: ReadOptions, skip: Skip) -> Iterator[PlacedRow]:
    """Yield a reStructuredText file as one row, without title underlines, with its first title."""
    for place, row in plain_text_rows(path, options, skip):
        lines = row[options.text_field].split("\n")
        under = [bool(_UNDERLINE.fullmatch(line)) for line in lines]
        titles = (line.strip() for line, below in zip(lines, under[1:], strict=False) if below)
        title = next(filter(None, titles), "")
        kept = (line for line, away in zip(lines, under, strict=True) if not away)
        yield place, {**({"title": title} if title else {}), options.text_field: "\n".join(kept)}


GUESSED_NOTE = "read as windows-1252, a guess (else give --encoding)"
"""Remark in the report if the encoding of a text was guessed."""
