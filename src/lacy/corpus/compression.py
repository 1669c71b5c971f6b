"""Decompress gzip, bzip2, xz and zstd files as streams of bounded chunks.

A malicious file of a few kilobytes can expand to terabytes, so decompression stops at ``MAX_RATIO``
times the file's size. Real texts shrink to a twentieth of their size, rarely to a fiftieth.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lacy.corpus.encoding import is_utf8

CHUNK = 1 << 20
"""Bytes per chunk."""

MAX_RATIO = 250
"""Maximum size of the decompressed file, as a multiple of the file's size."""

ALWAYS_ALLOWED = 64 << 20
"""Every file may expand to this many bytes, however small it is."""

_WINDOW = 1 << 31
"""Maximum zstd window, as with --long=31; only the used part of the window takes memory."""

_DICTIONARY = 1 << 30
"""Memory limit for the xz dictionary in bytes."""

_ZSTD_INPUT = 1 << 10
"""Number of zstd input bytes per step; small, because 4 bytes may expand to 128 KiB."""

Skip = Callable[[str, str, str], None]


class MissingPackage(Exception):
    """Raised when a required package is not installed; the argument is the package's name."""


class _Gzip:
    """A zlib decompressor with the interface of ``bz2.BZ2Decompressor``."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._left = b""

    def decompress(self, data: bytes, most: int) -> bytes:
        found = self._inner.decompress(self._left + data, most)
        self._left = self._inner.unconsumed_tail
        return found

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._left

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


class _Zstd:
    """A ``zstandard`` decompressor with the same interface; small inputs bound the output."""

    needs_input = True

    def __init__(self) -> None:
        import zstandard

        self._inner = zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()
        self.unused_data = b""

    def decompress(self, data: bytes, most: int) -> bytes:
        del most
        found: bytes = self._inner.decompress(data)
        self.unused_data = self._inner.unused_data
        return found

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)


def _gzip() -> Any:
    return _Gzip()


def _bz2() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> Any:
    import lzma

    return lzma.LZMADecompressor(memlimit=_DICTIONARY)


def _zstd() -> Any:
    try:
        from compression.zstd import ZstdDecompressor  # type: ignore[import-not-found]
    except ImportError:
        pass
    else:
        return ZstdDecompressor()
    try:
        return _Zstd()
    except ImportError:
        raise MissingPackage("zstandard") from None


FORMATS: dict[str, tuple[str, Callable[[], Any]]] = {
    ".gz": ("gzip", _gzip),
    ".bz2": ("bzip2", _bz2),
    ".xz": ("xz", _xz),
    ".lzma": ("xz", _xz),
    ".zst": ("zstd", _zstd),
    ".zstd": ("zstd", _zstd),
}
"""By suffix: name of the format, and a function that returns a decompressor for one member."""


_MAGIC = (
    (re.compile(rb"\x1f\x8b\x08"), ".gz"),
    (re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), ".bz2"),
    (re.compile(rb"\xfd7zXZ\x00"), ".xz"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), ".zst"),
)
"""The first bytes that identify each compression format."""


def compression_of(path: Path, head: bytes) -> str:
    """Return the suffix of the file's actual compression, or "" if it is not compressed.

    Ignores the file's name, because download tools sometimes decompress a file and keep its name.
    """
    for magic, ending in _MAGIC:
        if magic.match(head):
            return ending
    ending = path.suffix.lower()
    if ending not in FORMATS:
        return ""
    text = head[:1024]
    plain = text.strip() and is_utf8(text) and not re.search(rb"[\x00-\x08\x0e-\x1f\x7f]", text)
    return "" if plain else ending


def decompress(path: Path, ending: str, chunks: Iterator[bytes], skip: Skip) -> Iterator[bytes]:
    """Decompress a file into chunks of bounded size.

    A truncated or damaged file yields everything before the damage.

    Args:
        path: the file, for messages.
        ending: the compression, a key of ``FORMATS``.
        chunks: the compressed bytes.
        skip: called if the file is damaged.
    """
    name, make = FORMATS[ending]
    if name == "zstd":
        chunks = (chunk[at : at + _ZSTD_INPUT] for chunk in chunks
                  for at in range(0, len(chunk), _ZSTD_INPUT))  # fmt: skip
    member: Any = None
    taken = given = 0
    try:
        for chunk in chunks:
            taken += len(chunk)
            while chunk or (member is not None and not member.needs_input):
                if member is None:
                    chunk = chunk.lstrip(b"\0")  # gzip allows zero padding after a member
                    if not chunk:
                        break
                    member = make()
                data = member.decompress(chunk, CHUNK)
                given += len(data)
                if data:
                    yield data
                if given > max(ALWAYS_ALLOWED, MAX_RATIO * taken):
                    why = f"more than {MAX_RATIO} times its size; read up to {given >> 20} MiB"
                    skip("unpacks to too much", str(path), why)
                    return
                chunk = b""
                if member.eof:
                    chunk, member = member.unused_data, None
    except MissingPackage as error:
        why = f"it needs the package {error.args[0]!r}: pip install {error.args[0]}"
        skip("no reader", str(path), why)
        return
    except MemoryError as error:
        skip(f"damaged {name}", str(path), f"it needs too much memory {error}".strip())
        return
    except Exception as error:  # every library raises its own class
        skip(f"damaged {name}", str(path), str(error))
        return
    if member is not None:
        skip(f"truncated {name}", str(path), "the file ends in the middle; read up to there")
