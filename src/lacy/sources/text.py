"""Text at the seams: the exact text of tokens, and how a value joins on to a text.

A cascade passes text between tokenizers. Bytes are the common ground: ``TokenText`` knows the bytes
that each token stands for, so that a character split over two tokens is neither lost nor doubled,
and a continuation is encoded so that its tokens stand for exactly its characters. What a model says
without knowing where to stop is cut to one unit: a token, a word or a value.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
import unicodedata
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

from lacy.annotate.grammar.dates import MONTHS
from lacy.errors import clean as clean
from lacy.errors.plain import STEERING as STEERING
from lacy.types import Unit

_ANCHORS = ("", "\n", "x", ".")
"""What to put before a text so that a tokenizer does not treat it as the start of a text."""

_REMEMBER = 65_536
"""Encoded continuations kept per tokenizer."""

_WORD = re.compile(
    r"\s*(?:(?:['’](?=[a-z]{1,2}\b)|[-−+±]?[$£€¥₹]?(?=\d))?\w+(?:['’.,\-–]\w+)*(?:(?<=\d)[%‰°])?"
    r"|[^\w\s]+)"
)
"""Sign, currency and per cent are part of a number; 's-Hertogenbosch is one word."""
_REST_OF_WORD = re.compile(r"\w*(?:['’.,\-–]\w+)*")
_CLAUSE = re.compile(r"(?:[,;!?…。，、]|:(?!/))(?=\D|$)|\.(?=\s|$)|[()\[\]\n]")
_DIGITS = re.compile(r"\d*(?:[.,]\d+)*")
_JOINS = ("'", "’", ".", ",", "-", "–")
_FAR = 8
"""Characters examined before a dot: more than the longest of ``_SHORT`` and a space."""

_MONTHS = "|".join(f"{name}|{name[:3]}" for name in MONTHS.split("|"))
_DAY = re.compile(rf"\b(?:{_MONTHS}) \d{{1,2}}(?:st|nd|rd|th)?$")
_ABOUT = re.compile(r"(?:^|\s)(?:c|ca)$")
_YEAR, _YEAR_BEGUN = re.compile(r" \d{3,4}(?!\d)"), re.compile(r" ?\d{0,4}$")
_NUMBER, _NUMBER_BEGUN = re.compile(r" \d"), re.compile(r" ?$")
_DAY_LENGTH = 20
"""Characters that the day of a date takes, at most."""

_SHORT = ("St", "Dr", "Mr", "Mrs", "Ms", "Jr", "Sr", "No", "Mt", "Prof")
"""A dot after these, or after an initial, ends no clause."""


class TokenText:
    """The bytes of each token of one tokenizer, and encoding that respects them.

    Knows byte-level tokenizers (GPT-2, Llama 3), Metaspace and byte-fallback ones (SentencePiece);
    of any other it takes what ``decode`` says of a token in the middle of a text. Special tokens
    stand for no text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._scheme = _scheme(tokenizer)
        self._special = set(tokenizer.all_special_ids)
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self._special |= {number for number, token in added.items() if token.special}
        self._added = {n: str(t).encode() for n, t in added.items() if not t.special}
        self._bytes: dict[int, bytes] = {}
        self._encoded: dict[str, list[int]] = {}

    def bytes_of(self, token: int) -> bytes:
        """The UTF-8 bytes (perhaps not whole characters) that a token adds to a text."""
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = self._look_up(token)
        return known

    def written(self, token: int) -> bytes:
        """The bytes of a token in a prompt; for special tokens, their names."""
        if token not in self._special:
            return self.bytes_of(token)
        return str(self.tokenizer.convert_ids_to_tokens(token)).encode()

    @cached_property
    def name(self) -> str:
        """A fingerprint, equal for tokenizers with the same tokens."""
        known = json.dumps(sorted(self.tokenizer.get_vocab().items()))
        return hashlib.sha256(known.encode()).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Tokens of a whole text; nothing in it becomes a special token."""
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=False, split_special_tokens=True
        )
        return ids

    def encode_continuation(self, text: str) -> list[int]:
        """Tokens that add exactly ``text`` to whatever comes before.

        Where a tokenizer cannot express the text (a missing character becomes ``<unk>``), the
        closest tokens are returned.
        """
        known = self._encoded.get(text)
        if known is None:
            if len(self._encoded) >= _REMEMBER:
                self._encoded.clear()
            known = self._encoded[text] = self._encode_exactly(text)
        return list(known)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens; bytes that are no character become U+FFFD."""
        return b"".join(map(self.bytes_of, tokens)).decode("utf-8", errors="replace")

    def stream(self) -> TextStream:
        """A decoder that takes tokens one by one."""
        return TextStream(self)

    def _encode_exactly(self, text: str) -> list[int]:
        wanted = text.encode("utf-8", errors="replace")
        for anchor in _ANCHORS:
            ids = self.encode(anchor + text)
            start = self._after(ids, anchor)
            if start is not None and b"".join(map(self.bytes_of, ids[start:])) == wanted:
                return ids[start:]
        return self.encode(text)

    def _after(self, ids: Sequence[int], anchor: str) -> int | None:
        """How many tokens the anchor takes, if it ends at a token (a space may stand before it)."""
        if not anchor:
            return 0
        seen = b""
        for number, token in enumerate(ids, start=1):
            seen += self.bytes_of(token)
            if seen.lstrip(b" ") == anchor.encode():
                return number
        return None

    def _look_up(self, token: int) -> bytes:
        if token in self._special:
            return b""
        if token in self._added:
            return self._added[token]
        piece = self.tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return b""
        if self._scheme == "bytes":
            table = _byte_table()
            return bytes(table[c] for c in piece if c in table)
        if self._scheme is not None:
            if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
                return bytes([int(piece[3:5], 16)])
            return str(piece).replace(self._scheme, " ").encode()
        anchor = self.encode("x")
        with_anchor = self.tokenizer.decode([*anchor, token], clean_up_tokenization_spaces=False)
        alone = self.tokenizer.decode(anchor, clean_up_tokenization_spaces=False)
        return str(with_anchor[len(alone) :]).encode("utf-8", errors="replace")


class TextStream:
    """Text of a growing list of tokens: each ``add`` returns the characters that became whole."""

    def __init__(self, token_text: TokenText) -> None:
        self._token_text = token_text
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def add(self, token: int) -> str:
        """The characters completed by this token, perhaps none."""
        return self._decoder.decode(self._token_text.bytes_of(token))

    @property
    def whole(self) -> bool:
        """Whether the text so far ends at a character, not inside one."""
        return not self._decoder.getstate()[0]

    def finish(self) -> str:
        """What is left of an unfinished character (U+FFFD), usually nothing."""
        return self._decoder.decode(b"", final=True)


def continuation(text: str, value: str) -> str:
    """``value`` as it continues ``text``: with a leading space where the script asks for one."""
    value = value.strip()
    if not value or not text or text[-1].isspace():
        return value
    before, after = text[-1], value[0]
    if unicodedata.category(before) in ("Ps", "Pi", "Pd") or before in "\"'/#@$£€":
        opens = before not in "\"'" or text.count(before) % 2 == 1
        return value if opens else " " + value
    if unicodedata.category(after) in ("Pe", "Pf", "Po") and after not in "\"'&@#%*¿¡":
        return value
    if _unspaced(before) or _unspaced(after):
        return value
    return " " + value


def completions(text: str, value: str) -> list[str]:
    """All the ways in which ``value`` may go on from ``text``, for the SLM to choose from.

    The whole value, unless the text already ends with it; and what is left of it where the text
    ends with its beginning ("born on 12" + "12 March 1879" -> " March 1879").
    """
    value = value.strip()
    ways = []
    overlap = _overlap(text, value)
    if overlap < len(value):
        ways.append(continuation(text, value))
        if overlap:
            ways.append(value[overlap:])
    return [way for way in ways if way]


def cut_unit(text: str, unit: Unit, *, ended: bool) -> str:
    """The unit at the beginning of ``text``, or nothing while it may still grow.

    Args:
        text: what was said so far.
        unit: a ``"token"`` is taken as it is; a ``"value"`` ends where its clause does.
        ended: whether nothing more will come.
    """
    if unit == "token":
        return text
    if unit == "word":
        end = _word_end(text)
        rest = text[end:]
        # "O'" may become "O'Brien": one joining mark at the end decides nothing.
        undecided = not rest or rest in _JOINS
        return text[:end] if end and (ended or not undecided) else ""
    begin = len(text) - len(text.lstrip())
    for match in _CLAUSE.finditer(text, begin):
        word = _last_word(text, match.start())
        inside = match.group() == "." and (word in _SHORT or (len(word) == 1 and word.isupper()))
        goes_on = _date_goes_on(text, match, ended=ended)
        if goes_on is None:
            return ""  # no later sign can decide for this one
        inside = inside or goes_on
        undecided = match.end() == len(text) and not ended and match.group() != "\n"
        if match.start() > begin and not inside and not undecided:
            return text[: match.start()].rstrip()
    return text.rstrip() if ended else ""


def _date_goes_on(text: str, sign: re.Match[str], *, ended: bool) -> bool | None:
    """Whether a sign is one inside a date ("May 12, 1815", "c. 1815"); None: not known yet."""
    before, rest = text[max(0, sign.start() - _DAY_LENGTH) : sign.start()], text[sign.end() :]
    if sign.group() == "," and _DAY.search(before):
        whole, begun = _YEAR, _YEAR_BEGUN
    elif sign.group() == "." and _ABOUT.search(before):
        whole, begun = _NUMBER, _NUMBER_BEGUN
    else:
        return False
    if not ended and begun.match(rest):
        return None
    return whole.match(rest) is not None


def _word_end(text: str) -> int:
    """Where the first word ends; 0 for none. Combining accents and vowel signs belong to it."""
    match = _WORD.match(text)
    end = match.end() if match else 0
    while 0 < end < len(text) and _within_word(text[end]):
        more = _REST_OF_WORD.match(text, end + 1)
        end = more.end() if more else end + 1
    return end


def _within_word(character: str) -> bool:
    """Whether a character never separates words: a combining mark or an invisible joiner."""
    return character in "\u00ad\u200c\u200d" or unicodedata.category(character)[0] == "M"


def whole_number(text: str, token: str, *, ended: bool) -> str | None:
    """``token`` with all digits of the number that it begins; None while the number may continue.

    Args:
        text: the text from ``token`` on; "" is returned if it does not begin with ``token``.
        token: the requested token; returned unchanged if it does not end inside a number.
        ended: whether the text is complete.
    """
    if not token[-1:].isdigit():
        return token
    if not text.startswith(token):
        return None
    digits = _DIGITS.match(text, len(token))
    end = digits.end() if digits else len(token)
    undecided = text[end:] in ("", ".", ",")
    return None if undecided and not ended else text[:end]


def _last_word(text: str, end: int) -> str:
    """The word before a position, up to the length of the longest of ``_SHORT``."""
    words = text[max(0, end - _FAR) : end].rsplit(maxsplit=1)
    return words[-1] if words else ""


def whole_words(text: str, unit: Unit) -> str:
    """What can be said of a unit that the limit cut: its whole words, a lone long word as it is."""
    if unit == "token":
        return text if not text.endswith("\ufffd") else ""
    match = re.match(r"\s*\S.*(?=\s)", text, flags=re.DOTALL)
    return (match.group().rstrip() if match else "") or text.rstrip()


def _overlap(text: str, value: str) -> int:
    """Length of the longest beginning of ``value`` with which ``text`` ends, at a word's start."""
    for length in range(min(len(text), len(value)), 0, -1):
        if not text.endswith(value[:length]):
            continue
        before = text[-length - 1 : -length]
        if not (before.isalnum() and value[0].isalnum()):
            return length
    return 0


def _unspaced(character: str) -> bool:
    """Whether the script writes no spaces between words (Chinese, Japanese, Thai, ...)."""
    code = ord(character)
    return 0x0E00 <= code <= 0x0EFF or 0x2E80 <= code <= 0xA4CF or 0xF900 <= code <= 0xFAFF


def _scheme(tokenizer: Any) -> str | None:
    """``"bytes"``, the character that stands for a space, or None for an unknown scheme."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    decoder = json.loads(backend.to_str()).get("decoder") or {}
    parts = decoder.get("decoders", [decoder])
    for part in parts:
        if part.get("type") == "ByteLevel":
            return "bytes"
        if part.get("type") == "Metaspace":
            return str(part["replacement"])
        if part.get("type") == "Replace" and part.get("content") == " ":
            pattern = part.get("pattern", {})
            return str(pattern.get("String", "▁"))
    return None


@lru_cache(maxsize=1)
def _byte_table() -> dict[str, int]:
    """The printable characters by which byte-level tokenizers write bytes (GPT-2's table)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    table.update({chr(256 + number): byte for number, byte in enumerate(others)})
    return table
