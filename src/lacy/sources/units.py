"""Units of text: how a value joins on to a text, and where a token, word or value ends."""

from __future__ import annotations

import re
import unicodedata

from lacy.annotate.grammar import MONTHS
from lacy.types import Unit

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
