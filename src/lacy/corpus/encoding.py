"""The encoding of a text: told by the caller, by its first bytes, by a page itself, or guessed.

A byte order mark comes first, then UTF-8, then what the caller says: a folder may hold both. What
is none of these is read as Windows-1252 if it looks like a Western European text, and the report
says that this is a guess. Anything else is left out: words in a wrong encoding would pass for
facts. Labels and the search for a page's own declaration follow the WHATWG Encoding Standard and
HTML, as browsers do.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from lacy.corpus._labels import LABELS
from lacy.errors import LacyError

FALLBACK = "cp1252"
"""The codec tried where nothing tells the encoding; Windows programs wrote it for decades."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins like that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOKED_AT = 4096
"""Bytes in which zeros are counted: UTF-16 and UTF-32 without a byte order mark show by them."""

_DECLARED_WITHIN = 1 << 16
"""Bytes in which a page may declare its encoding. The standard asks for the first 1024, but
browsers honour a later declaration as well."""

_LONGEST = 64 << 20
"""Bytes of a line that is decoded as a whole; nobody reads longer ones."""

_NOT_BY_BYTE = ("utf", "iso-2022", "iso2022", "hz")
"""How codecs begin whose bytes may look like UTF-8 and mean something else."""

_NO_ENCODINGS = {"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"}
_BAD = "\udcff"
"""What a byte becomes that cannot be decoded in a stream; written as 0xFF, which is no UTF-8."""

_BEHIND = re.compile(rb"[\x80-\xff]")
_UTF8_PAIR = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_STRANGE = re.compile(
    r"[a-zß-ÿ][A-ZÀ-ÖØ-ÞŠŒŽŸ\x80-\x9f¡¢£¤¥¦¨©¬®¯±²³¹¼½¾¿×÷ˆ˜‰†‡][a-zß-ÿ]"
    r"|[A-Za-zß-ÿ][¡¤¥¦¬¯¿×÷][A-Za-zß-ÿ]|(?<!\w)[£¥¦¯][a-z]{2}"
)
"""Signs and capitals inside words: the text was not written in Windows-1252."""

_FOREIGN = re.compile("[À-ÖØ-öø-ÿŠŒŽšœžŸƒªº]{4}")
"""More letters beyond ASCII in a row than Western European languages have."""


class Undecodable(Exception):
    """Bytes that are no text; ``at`` is where the first bad one stands."""

    def __init__(self, why: str, at: int) -> None:
        super().__init__(why)
        self.at = at


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, the codec it was read with, and whether that is a guess."""

    text: str
    codec: str
    guessed: bool = False


def codec_of(name: str, setting: str = "encoding") -> str:
    """Python's codec for an encoding that a user names, by the standard's labels or Python's.

    Raises:
        LacyError: E12, there is no such encoding of text.
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
        why, do = "there is no such encoding of texts", "--encoding windows-1252, utf-16, shift_jis"
        raise LacyError("E12", key=setting, value=name, why=why, do=do)
    return codec.removesuffix("-sig").removesuffix("_sig")


def sniffed(data: bytes) -> tuple[str, int]:
    """The codec that the first bytes show, and the length of the byte order mark; or "" and 0."""
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


def decode(data: bytes, codec: str | None = None) -> Decoded:
    """A whole text.

    Args:
        data: its bytes.
        codec: how the caller says that it is written, unless a byte order mark or bytes that
            are UTF-8 say otherwise.

    Raises:
        Undecodable: it is not written so; or, if nobody says how, in no way that can be told.
    """
    shown, mark = sniffed(data)
    if mark or (shown and codec is None):
        return Decoded(_strict(data[mark:], shown, mark), shown)
    if codec is not None and codec.startswith(_NOT_BY_BYTE):
        return Decoded(_strict(data, codec, 0), codec)
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        if codec is not None:
            return Decoded(_strict(data, codec, 0), codec)
        if not looks_western(data):
            why = f"byte 0x{data[error.start]:02x} is not UTF-8 (at byte {error.start})"
            raise Undecodable(why, error.start) from None
    return Decoded(data.decode(FALLBACK, "lacy.c1"), FALLBACK, guessed=True)


def _strict(data: bytes, codec: str, before: int) -> str:
    try:
        return data.decode(codec, "lacy.c1")
    except UnicodeDecodeError as error:
        at = error.start + before
        why = f"byte 0x{data[error.start]:02x} is not {codec.upper()} (at byte {at})"
        raise Undecodable(why, at) from None


def looks_western(data: bytes) -> bool:
    """Whether bytes that are not UTF-8 look like a Western European text in Windows-1252.

    Most letters are ASCII, no sign or capital stands inside a word, no byte is a control
    character. A text in UTF-8 with some damaged bytes is none, nor one in Cyrillic or Japanese.
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
    """A stream of bytes in UTF-8, without a byte order mark; bytes already in UTF-8 stay as are.

    What cannot be decoded becomes bytes that are not UTF-8, so that it costs its own line.

    Args:
        pieces: the stream.
        codec: how the caller says that lines are written that are not UTF-8.
        guess: called where a beginning that is not UTF-8 is taken for Windows-1252; None where it
            may not be.
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
        yield from _by_line(chain([head], rest), used)
        return
    if _has_pairs(used) and is_utf8(head) and not head.isascii():
        yield from chain([head], rest)
        return
    decoder = codecs.getincrementaldecoder(used)("lacy.bad")
    for piece in chain([head], rest):
        yield decoder.decode(piece).encode("utf-8", "lacy.bad")
    yield decoder.decode(b"", True).encode("utf-8", "lacy.bad")


def _has_pairs(codec: str) -> bool:
    """Whether a codec writes characters in several bytes: a short line may be UTF-8 by chance."""
    decoder: Any = codecs.lookup(codec).incrementaldecoder
    return any(base.__name__ == "MultibyteIncrementalDecoder" for base in decoder.__mro__)


def _by_line(pieces: Iterable[bytes], codec: str) -> Iterator[bytes]:
    """A stream whose lines are UTF-8 or else in an encoding in which a line feed is a line feed."""

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
    """Whether bytes are UTF-8; unless they are a whole, the last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, whole)
    except UnicodeDecodeError:
        return False
    return True


# ---------------------------------------------------------------------------------------- pages


def page(data: bytes, codec: str | None = None) -> Decoded:
    """An HTML page as a browser reads it; undecodable bytes become U+FFFD.

    The byte order mark comes first, then the page's own declaration, then UTF-8 where all bytes
    are, then ``codec``, and at last Windows-1252.

    Raises:
        Undecodable: it declares an encoding that browsers refuse to read.
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
    """The codec that the beginning of a page declares: "prescan a byte stream" of HTML.

    None where it declares none that is known, "" where it is one that browsers refuse to read.
    """
    if (xml := _XML.match(data)) and (codec := _known(xml[1])) is not None:
        return codec
    at = data.find(b"<")
    while at >= 0:
        if found := _COMMENT.match(data, at):
            at = found.end()
        elif found := _META.match(data, at):
            attributes, at = _attributes(data, found.end())
            codec = _of_meta(attributes)
            if codec is not None:
                return codec
        elif found := _TAG.match(data, at):
            _, at = _attributes(data, found.end())
        elif found := _OTHER.match(data, at):
            at = found.end()
        else:
            at += 1
        at = data.find(b"<", at)
    return None


def _attributes(data: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """The attributes of a tag, the first of each name, and where they end."""
    found: dict[bytes, bytes] = {}
    while match := _ATTRIBUTE.match(data, at):
        found.setdefault(match[1].lower(), match[2] or match[3] or match[4] or b"")
        at = match.end()
    return found, at


def _of_meta(attributes: dict[bytes, bytes]) -> str | None:
    if b"charset" in attributes:
        return _known(attributes[b"charset"])
    if attributes.get(b"http-equiv", b"").lower() == b"content-type":
        found = _IN_CONTENT.search(attributes.get(b"content", b""))
        return _known(found[1] or found[2] or found[3] or b"") if found else None
    return None


def _known(label: bytes) -> str | None:
    """The codec of a label in a page: one that can be read byte by byte is no UTF-16."""
    codec = LABELS.get(label.strip(b"\t\n\f\r ").decode("latin-1").lower())
    if codec in ("utf-16-le", "utf-16-be"):
        return "utf-8"
    return FALLBACK if codec == "x-user-defined" else codec


# -------------------------------------------------------------------------------------- handlers


def _c1(error: UnicodeError) -> tuple[str, int]:
    """Bytes that Windows' code pages leave open are control characters, as in the standard."""
    if isinstance(error, UnicodeDecodeError) and error.encoding == "charmap":
        byte = error.object[error.start]
        if byte < 0xA0:
            return chr(byte), error.start + 1
    raise error


def _browser(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    try:
        return _c1(error)
    except UnicodeDecodeError:
        return "\ufffd", error.end


def _bad(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeEncodeError):
        return b"\xff" * (error.end - error.start), error.end
    assert isinstance(error, UnicodeDecodeError)
    try:
        return _c1(error)
    except UnicodeDecodeError:
        return _BAD, error.end


codecs.register_error("lacy.c1", _c1)
codecs.register_error("lacy.browser", _browser)
codecs.register_error("lacy.bad", _bad)
