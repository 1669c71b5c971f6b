"""Determine the encoding of a text: byte order mark, UTF-8, the caller's choice, or a guess.

A byte order mark has priority, then valid UTF-8, then the caller's encoding, because a folder may
contain several encodings. Other texts are read as Windows-1252 if they look Western European, and
the report says that this is a guess. The rest is skipped, because garbled words would be marked as
facts. Labels and the search for a page's own declaration follow the WHATWG Encoding Standard and
HTML.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import chain
from typing import Any

from lacy.errors import LacyError

_LABEL_LINE = re.compile(r"^(\S+): (.*(?:\n  .*)*)", re.MULTILINE)
LABELS: dict[str, str] = {
    label: "" if codec == "-" else codec
    for codec, labels in _LABEL_LINE.findall(
        (resources.files(__package__) / "encoding_labels.txt").read_text(encoding="utf-8")
    )
    for label in labels.split()
}
"""Python's codec of each label in the WHATWG Encoding Standard; "" for encodings (``-``) that
browsers refuse."""

FALLBACK = "cp1252"
"""The codec tried if the encoding is unknown; Windows programs used it for decades."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, because it begins with UTF-16's mark
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT = 4096
"""Number of bytes in which zeros are counted to recognise UTF-16 and UTF-32 without a mark."""

_DECLARED_WITHIN = 1 << 16
"""A page may declare its encoding within this many bytes. The standard says 1024, but browsers
also accept a later declaration."""

_LONGEST = 64 << 20
"""Maximum bytes of a line that is decoded as a whole; longer lines are skipped later anyway."""

_NOT_BY_BYTE = ("utf", "iso-2022", "iso2022", "hz")
"""Prefixes of codecs that produce bytes which may also be valid UTF-8 of another text."""

_NO_ENCODINGS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"}
_BAD = "\udcff"
"""Replaces an undecodable byte in a stream; it is encoded as 0xFF, which is invalid UTF-8."""

_BEHIND = re.compile(rb"[\x80-\xff]")
_UTF8_PAIR = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_STRANGE = re.compile(
    r"[a-zß-ÿ][A-ZÀ-ÖØ-ÞŠŒŽŸ\x80-\x9f¡¢£¤¥¦¨©¬®¯±²³¹¼½¾¿×÷ˆ˜‰†‡][a-zß-ÿ]"
    r"|[A-Za-zß-ÿ][¡¤¥¦¬¯¿×÷][A-Za-zß-ÿ]|(?<!\w)[£¥¦¯][a-z]{2}"
)
"""Symbols and capitals inside words; they show that a text is not Windows-1252."""

_FOREIGN = re.compile("[À-ÖØ-öø-ÿŠŒŽšœžŸƒªº]{4}")
"""Four non-ASCII letters in a row, which Western European languages do not have."""


class Undecodable(Exception):
    """Raised when bytes cannot be decoded; ``at`` is the position of the first bad byte."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(why)
        self.at = at


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, the codec used to decode it, and True if the codec was guessed."""

    text: str
    codec: str
    guessed: bool = False


def codec_of(name: str, setting: str = "encoding") -> str:
    """Return Python's codec for an encoding; ``name`` is a WHATWG label or a Python codec.

    Raises:
        LacyError: E12, there is no such text encoding.
    """
    label = name.strip().lower()
    codec = LABELS.get(label)
    if codec is None:
        try:
            found = codecs.lookup(label)
            codec = LABELS.get(found.name, found.name)
            text = "a".encode(found.name).decode(found.name) == "a"
            codec = codec if text and found.name not in _NO_ENCODINGS else ""
        except (LookupError, ValueError, TypeError, UnicodeError):
            codec = ""
    if codec in ("", "x-user-defined"):
        why, do = "there is no such text encoding", "--encoding windows-1252, utf-16, shift_jis"
        raise LacyError("E12", key=setting, value=name, why=why, do=do)
    return codec.removesuffix("-sig").removesuffix("_sig")


def sniffed(data: bytes) -> tuple[str, int]:
    """Recognise the codec from the first bytes; return it with the length of its byte order mark.

    Returns ``("", 0)`` if no codec is recognised.
    """
    for mark, codec in _MARKS:
        if data.startswith(mark):
            return codec, len(mark)
    head = data[:_LOOKED_AT]
    head = head[: len(head) - len(head) % 4]
    if len(head) >= 4 and b"\0" in head:
        share = [head[n::4].count(0) / (len(head) / 4) for n in range(4)]
        few, most = 0.05, 0.6
        for codec, zeros in (("utf-32-le", (1, 2, 3)), ("utf-32-be", (0, 1, 2)),
                             ("utf-16-le", (1, 3)), ("utf-16-be", (0, 2))):  # fmt: skip
            if all(share[n] >= most if n in zeros else share[n] <= few for n in range(4)):
                return codec, 0
    return "", 0


def decode_text(data: bytes, codec: str | None = None) -> Decoded:
    """Decode a whole text.

    Args:
        data: the bytes of the text.
        codec: the caller's encoding; used if there is no byte order mark and the bytes are not
            UTF-8.

    Raises:
        Undecodable: the bytes do not match ``codec``, or ``codec`` is None and no guess fits.
    """
    shown, mark = sniffed(data)
    if mark or (shown and codec is None):
        return Decoded(_decode_strict(data[mark:], shown, mark), shown)
    if codec is not None and codec.startswith(_NOT_BY_BYTE):
        return Decoded(_decode_strict(data, codec, 0), codec)
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        if codec is not None:
            return Decoded(_decode_strict(data, codec, 0), codec)
        if not looks_western(data):
            why = f"byte 0x{data[error.start]:02x} is not UTF-8 (at byte {error.start})"
            raise Undecodable(why, error.start) from None
    return Decoded(data.decode(FALLBACK, "lacy.c1"), FALLBACK, guessed=True)


def _decode_strict(data: bytes, codec: str, before: int) -> str:
    try:
        return data.decode(codec, "lacy.c1")
    except UnicodeDecodeError as error:
        at = error.start + before
        why = f"byte 0x{data[error.start]:02x} is not {codec.upper()} (at byte {at})"
        raise Undecodable(why, at) from None


def looks_western(data: bytes) -> bool:
    """True if bytes that are not UTF-8 look like a Western European text in Windows-1252.

    Requires that most letters are ASCII, and that there are no control characters and no symbols or
    capitals inside words. This excludes damaged UTF-8 as well as Cyrillic and Japanese text.
    """
    high = len(_BEHIND.findall(data))
    if sum(map(len, _UTF8_PAIR.findall(data))) * 2 > high:
        return False
    text = data.decode(FALLBACK, "lacy.c1")
    if re.search(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f]", text):
        return False
    letters = sum(map(str.isalpha, text))
    foreign = sum(character.isalpha() and character > "\x7f" for character in text)
    if foreign > 0.45 * max(1, letters) or _FOREIGN.search(text):
        return False
    return len(_STRANGE.findall(text)) <= 0.02 * high


def as_utf8(
    pieces: Iterable[bytes], codec: str | None, *, guess: Callable[[], object] | None = None
) -> Iterator[bytes]:
    """Convert a stream of bytes to UTF-8 without byte order mark.

    Undecodable bytes become invalid UTF-8, so that later only their line is skipped.

    Args:
        pieces: the stream.
        codec: the caller's encoding for lines that are not UTF-8.
        guess: called if the beginning is not UTF-8 and the text is read as Windows-1252; None
            forbids the guess.
    """
    rest = iter(pieces)
    head = b""
    for piece in rest:
        head += piece
        if len(head) >= _LOOKED_AT:
            break
    shown, mark = sniffed(head)
    used = shown if mark or codec is None else codec
    if not used and guess is not None and not is_utf8(head) and looks_western(head):
        used = FALLBACK
        guess()
    head = head[mark:]
    if used in ("", "utf-8"):
        yield head
        yield from rest
        return
    if not used.startswith(_NOT_BY_BYTE) and not _has_pairs(used):
        yield from _convert_lines(chain([head], rest), used)
        return
    if _has_pairs(used) and is_utf8(head) and not head.isascii():
        yield from chain([head], rest)
        return
    decoder = codecs.getincrementaldecoder(used)("lacy.bad")
    for piece in chain([head], rest):
        yield decoder.decode(piece).encode("utf-8", "lacy.bad")
    yield decoder.decode(b"", True).encode("utf-8", "lacy.bad")


def _has_pairs(codec: str) -> bool:
    """True if the codec is multi-byte, because its short lines may be valid UTF-8 by chance."""
    decoder: Any = codecs.lookup(codec).incrementaldecoder
    return any(base.__name__ == "MultibyteIncrementalDecoder" for base in decoder.__mro__)


def _convert_lines(pieces: Iterable[bytes], codec: str) -> Iterator[bytes]:
    """Convert a stream line by line; each line is UTF-8 or ``codec``. Line feeds must be ASCII."""

    def line(data: bytes) -> bytes:
        if is_utf8(data, whole=True):
            return data
        return data.decode(codec, "lacy.bad").encode("utf-8", "lacy.bad")

    rest: list[bytes] = []
    for piece in pieces:
        end = piece.rfind(b"\n") + 1
        if not end and sum(map(len, rest)) < _LONGEST:
            rest.append(piece)
            continue
        end = end or len(piece)
        block = b"".join([*rest, piece[:end]])
        rest = [piece[end:]]
        whole = is_utf8(block, whole=True)
        yield block if whole else b"".join(map(line, block.splitlines(keepends=True)))
    yield line(b"".join(rest))


def is_utf8(data: bytes, *, whole: bool = False) -> bool:
    """True if the bytes are UTF-8; the last character may be cut off unless ``whole`` is True."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, whole)
    except UnicodeDecodeError:
        return False
    return True


def decode_page(data: bytes, codec: str | None = None) -> Decoded:
    """Decode an HTML page as a browser does; undecodable bytes become U+FFFD.

    Tries the byte order mark, the page's own declaration, UTF-8 if all bytes are valid, ``codec``,
    and finally Windows-1252.

    Raises:
        Undecodable: the page declares an encoding that browsers refuse to read.
    """
    shown, mark = sniffed(data)
    if mark or (shown and codec is None):
        return Decoded(data[mark:].decode(shown, "lacy.browser"), shown)
    declared = declaration(data[:_DECLARED_WITHIN])
    if declared == "":
        raise Undecodable("it declares an encoding that browsers refuse, too", 0)
    if declared is None and codec is not None and codec.startswith(_NOT_BY_BYTE):
        declared = codec
    if declared is not None:
        return Decoded(data.decode(declared, "lacy.browser"), declared)
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        used = codec or FALLBACK
        return Decoded(data.decode(used, "lacy.browser"), used, guessed=codec is None)


_COMMENT = re.compile(rb"<!--.*?-->|<!-->|<!--->", re.DOTALL)
_META = re.compile(rb"<meta(?=[\s/])", re.IGNORECASE)
_TAG = re.compile(rb"</?[a-z][^\s/>]*", re.IGNORECASE)
_OTHER = re.compile(rb"<[!/?][^>]*>?")
_ATTRIBUTE = re.compile(
    rb"[\s/]*([^\s/>=][^\s/>=]*)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>]*)))?"
)
_XML = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([^\"'>]+)[\"']")
_IN_CONTENT = re.compile(rb"charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;\"']+))", re.IGNORECASE)


def declaration(data: bytes) -> str | None:
    """Return the codec declared at the beginning of a page (HTML's "prescan a byte stream").

    Returns None if no known encoding is declared, and "" if browsers refuse the declared one.
    """
    if (xml := _XML.match(data)) and (codec := _codec_of_label(xml[1])) is not None:
        return codec
    at = data.find(b"<")
    while at >= 0:
        if match := _COMMENT.match(data, at):
            at = match.end()
        elif match := _META.match(data, at):
            attributes, at = _attributes(data, match.end())
            codec = _declared_in_meta(attributes)
            if codec is not None:
                return codec
        elif match := _TAG.match(data, at):
            _, at = _attributes(data, match.end())
        elif match := _OTHER.match(data, at):
            at = match.end()
        else:
            at += 1
        at = data.find(b"<", at)
    return None


def _attributes(data: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """Return the attributes of a tag (the first of each name) and the position after them."""
    found: dict[bytes, bytes] = {}
    while match := _ATTRIBUTE.match(data, at):
        found.setdefault(match[1].lower(), match[2] or match[3] or match[4] or b"")
        at = match.end()
    return found, at


def _declared_in_meta(attributes: dict[bytes, bytes]) -> str | None:
    if b"charset" in attributes:
        return _codec_of_label(attributes[b"charset"])
    if attributes.get(b"http-equiv", b"").lower() == b"content-type":
        match = _IN_CONTENT.search(attributes.get(b"content", b""))
        return _codec_of_label(match[1] or match[2] or match[3] or b"") if match else None
    return None


def _codec_of_label(label: bytes) -> str | None:
    """Return the codec of a label; UTF-16 becomes UTF-8, because a readable label is not UTF-16."""
    codec = LABELS.get(label.strip(b"\t\n\f\r ").decode("latin-1").lower())
    if codec in ("utf-16-le", "utf-16-be"):
        return "utf-8"
    return FALLBACK if codec == "x-user-defined" else codec


def _decode_as_control(error: UnicodeError) -> tuple[str, int]:
    """Decode bytes that a Windows code page leaves undefined as control characters (WHATWG)."""
    if isinstance(error, UnicodeDecodeError) and error.encoding == "charmap":
        byte = error.object[error.start]
        if byte < 0xA0:
            return chr(byte), error.start + 1
    raise error


def _decode_like_browser(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    try:
        return _decode_as_control(error)
    except UnicodeDecodeError:
        return "\ufffd", error.end


def _replace_by_bad_byte(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        return b"\xff" * (error.end - error.start), error.end
    assert isinstance(error, UnicodeDecodeError)
    try:
        return _decode_as_control(error)
    except UnicodeDecodeError:
        return _BAD, error.end


codecs.register_error("lacy.c1", _decode_as_control)
codecs.register_error("lacy.browser", _decode_like_browser)
codecs.register_error("lacy.bad", _replace_by_bad_byte)
