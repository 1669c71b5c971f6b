"""Reads files as bytes, lines and whole texts; damage is reported to a callback and never raised.

At most one line or one text is in memory at a time. Only regular files are read: reading a pipe or
device might never end.
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
from lacy.corpus._unpack import packed_as, unpacked

Complain = Callable[[str, str, str], None]
"""Called with reason, place (``file:line``) and detail, for every piece that is left out."""

Row = tuple[str, dict[str, Any]]
"""Place (``file:line`` or ``file:row``) and the fields found there."""

CHUNK = 1 << 20
LARGEST = 64 << 20
"""Longest line or text file in bytes; a longer one is damaged or not a document. Also the limit on
blank lines in a row, in bytes."""

_HEAD = 16
"""Bytes by which a compressed file is recognised."""

ENDLESS = 16
"""Reading of a file stops at a line of this many times ``LARGEST``."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The caller's options for reading files.

    Args:
        text_field: name of the text field of rows.
        codec: the encoding of texts, as a Python codec; None if not given.
        note: called with reason, place and detail for remarks about data that are read.
    """

    text_field: str = "text"
    codec: str | None = None
    note: Complain = lambda *_: None


def kind_of(mode: int) -> str:
    """The kind of a directory entry that is neither file nor folder."""
    kinds = (
        (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"),
        (stat.S_ISBLK, "device"), (stat.S_ISDIR, "folder"),
    )  # fmt: skip
    return next((name for test, name in kinds if test(mode)), "file")


def chunks(path: Path, complain: Complain) -> Iterator[bytes]:
    """The bytes of a file, decompressed if its name ends in ``.gz`` or a similar suffix.

    A truncated or damaged compressed file yields everything before the damage.
    """
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if not stat.S_ISREG(mode := os.fstat(file.fileno()).st_mode):
                complain("unreadable file", str(path), f"it is a {kind_of(mode)}")
                return
            head = file.read(max(CHUNK, _HEAD))
            pieces = itertools.chain([head] if head else [], iter(lambda: file.read(CHUNK), b""))
            packed = packed_as(path, head)
            yield from unpacked(path, packed, pieces, complain) if packed else pieces
    except OSError as error:
        complain("unreadable file", str(path), error.strerror or str(error))


def lines(
    path: Path,
    complain: Complain,
    codec: str | None = None,
    *,
    guess: Callable[[], object] | None = None,
    blanks: bool = False,
) -> Iterator[tuple[int, bytes]]:
    """Numbered lines in UTF-8 without their newline.

    A line longer than ``LARGEST`` is left out. If a line or a series of blank lines does not end,
    the rest of the file is left out.

    Args:
        path: the file.
        complain: called for everything that is left out.
        codec: the encoding, if the caller knows it.
        guess: called if text that is not UTF-8 is read as Windows-1252; None forbids that.
        blanks: whether blank lines are yielded too; many of them as one line with line feeds.
    """
    parts: list[bytes] = []
    number, size, blank = 1, 0, 0
    for chunk in encoding.as_utf8(chunks(path, complain), codec, guess=guess):
        if not size and not chunk.strip():
            number, blank = number + chunk.count(b"\n"), blank + len(chunk)
            if blank > LARGEST:
                complain("blank lines", f"{path}:{number}", f"more than {LARGEST} bytes of them")
                return
            if blanks:
                yield number, chunk.removesuffix(b"\n")
            continue
        blank, start = 0, 0
        while (end := chunk.find(b"\n", start)) >= 0:
            size += end - start
            if size > LARGEST:
                complain("line too long", f"{path}:{number}", f"more than {LARGEST} bytes")
            else:
                line = b"".join([*parts, chunk[start:end]])
                if blanks or line.strip():
                    yield number, line
            number, parts, size, start = number + 1, [], 0, end + 1
        size += len(chunk) - start
        if size > ENDLESS * LARGEST:
            break
        parts = [*parts, chunk[start:]] if size <= LARGEST else []
    if size > LARGEST:
        complain("line too long", f"{path}:{number}", f"more than {LARGEST} bytes")
    elif size and (line := b"".join(parts)).strip():
        yield number, line


def decoded(data: bytes, place: str, complain: Complain) -> str | None:
    """UTF-8 text, or None after a complaint that names the first bad byte."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"byte 0x{data[error.start]:02x} is not UTF-8"
        complain("wrong encoding", place, f"{what} (at byte {error.start})")
        return None


def whole(path: Path, complain: Complain) -> bytes | None:
    """All bytes of a file; None after a complaint where it is empty, too large or unreadable."""
    try:
        found = path.stat()
        empty = found.st_size == 0 and stat.S_ISREG(found.st_mode)
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


def text_rows(path: Path, wanted: Wanted, complain: Complain) -> Iterator[Row]:
    """A text file as one row; line ends become line feeds, a byte order mark goes away."""
    data = whole(path, complain)
    if data is None:
        return
    try:
        found = encoding.decode(data, wanted.codec)
    except encoding.Undecodable as error:
        line = 1 + data[: error.at].count(b"\n")
        complain("wrong encoding", f"{path}:{line}", str(error))
        return
    if found.guessed:
        wanted.note(GUESSED, str(path), "")
    text = found.text.replace("\r\n", "\n").replace("\r", "\n")
    yield str(path), {wanted.text_field: text}


_UNDERLINE = re.compile(r"([!-/:-@\[-`{-~])\1{2,}\s*")


def rst_rows(path: Path, wanted: Wanted, complain: Complain) -> Iterator[Row]:
    """A reStructuredText file as plain text without title underlines, and its first title."""
    for place, row in text_rows(path, wanted, complain):
        lines = row[wanted.text_field].split("\n")
        under = [bool(_UNDERLINE.fullmatch(line)) for line in lines]
        titles = (line.strip() for line, below in zip(lines, under[1:], strict=False) if below)
        title = next(filter(None, titles), "")
        kept = (line for line, away in zip(lines, under, strict=True) if not away)
        yield place, {**({"title": title} if title else {}), wanted.text_field: "\n".join(kept)}


GUESSED = "read as windows-1252, a guess (else give --encoding)"
"""The note about a text whose encoding was guessed."""
