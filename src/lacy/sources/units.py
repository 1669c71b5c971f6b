"""Units of text: how a value is joined to a text, and where a token, word or value ends."""

from __future__ import annotations

import re
import unicodedata

from lacy._text import MONTHS
from lacy.annotate.grammar import is_unspaced
from lacy.types import Unit

_WORD = re.compile(
    r"\s*(?:(?:['’](?=[a-z]{1,2}\b)|[-−+±]?[$£€¥₹]?(?=\d))?\w+(?:['’.,\-–]\w+)*(?:(?<=\d)[%‰°])?"
    r"|[^\w\s]+)"
)
"""A sign, currency or percent sign is part of a number; 's-Hertogenbosch is one word."""
_REST_OF_WORD = re.compile(r"\w*(?:['’.,\-–]\w+)*")
_CLAUSE = re.compile(r"(?:[,;!?…。，、]|:(?!/))(?=\D|$)|\.(?=\s|$)|[()\[\]\n]")
_DIGITS = re.compile(r"\d*(?:[.,]\d+)*")
_JOINS = ("'", "’", ".", ",", "-", "–")
_LONGEST_ABBREVIATION = 8
"""Characters examined before a dot: more than the longest of ``_ABBREVIATIONS`` and a space."""

_MONTHS = "|".join(f"{name}|{name[:3]}" for name in MONTHS)
_DAY = re.compile(rf"\b(?:{_MONTHS}) \d{{1,2}}(?:st|nd|rd|th)?$")
_CIRCA = re.compile(r"(?:^|\s)(?:c|ca)$")
_YEAR, _PARTIAL_YEAR = re.compile(r" \d{3,4}(?!\d)"), re.compile(r" ?\d{0,4}$")
_NUMBER, _PARTIAL_NUMBER = re.compile(r" \d"), re.compile(r" ?$")
_DAY_LENGTH = 20
"""Most characters of the month and day of a date."""

_ABBREVIATIONS = ("St", "Dr", "Mr", "Mrs", "Ms", "Jr", "Sr", "No", "Mt", "Prof")
"""A dot after one of these, or after an initial, does not end a clause."""


def continuation(text: str, value: str) -> str:
    """Return ``value`` as it continues ``text``: with a leading space where one is needed."""
    value = value.strip()
    if not value or not text or text[-1].isspace():
        return value
    before, after = text[-1], value[0]
    if unicodedata.category(before) in ("Ps", "Pi", "Pd") or before in "\"'/#@$£€":
        opens = before not in "\"'" or text.count(before) % 2 == 1
        return value if opens else " " + value
    if unicodedata.category(after) in ("Pe", "Pf", "Po") and after not in "\"'&@#%*¿¡":
        return value
    if is_unspaced(before) or is_unspaced(after):
        return value
    return " " + value


def completions(text: str, value: str) -> list[str]:
    """Return all forms in which ``value`` can continue ``text``, for the SLM to choose from.

    They are the whole value, unless the text already ends with it, and the rest of it if the text
    ends with its beginning ("born on 12" + "12 March 1879" -> " March 1879").
    """
    value = value.strip()
    overlap = _overlap(text, value)
    if overlap >= len(value):
        return []
    return [continuation(text, value), *([value[overlap:]] if overlap else [])]


def cut_unit(text: str, unit: Unit, *, ended: bool) -> str:
    """Return the unit at the beginning of ``text``; empty if later text could still change it.

    Args:
        text: the answer so far.
        unit: a ``"token"`` is returned unchanged; a ``"value"`` ends where its clause ends.
        ended: whether the text is complete.
    """
    if unit == "token":
        return text
    if unit == "word":
        end = _word_end(text)
        rest = text[end:]
        # "O'" may become "O'Brien", so the word may not be complete.
        undecided = not rest or rest in _JOINS
        return text[:end] if end and (ended or not undecided) else ""
    begin = len(text) - len(text.lstrip())
    for match in _CLAUSE.finditer(text, begin):
        word = _last_word(text, match.start())
        inside = match.group() == "." and (
            word in _ABBREVIATIONS or (len(word) == 1 and word.isupper())
        )
        in_date = _is_inside_date(text, match, ended=ended)
        if in_date is None:
            return ""  # wait for more text
        inside = inside or in_date
        undecided = match.end() == len(text) and not ended and match.group() != "\n"
        if match.start() > begin and not inside and not undecided:
            return text[: match.start()].rstrip()
    return text.rstrip() if ended else ""


def _is_inside_date(text: str, sign: re.Match[str], *, ended: bool) -> bool | None:
    """True if a comma or dot is inside a date ("May 12, 1815", "c. 1815"); None: unknown."""
    before, rest = text[max(0, sign.start() - _DAY_LENGTH) : sign.start()], text[sign.end() :]
    if sign.group() == "," and _DAY.search(before):
        whole, partial = _YEAR, _PARTIAL_YEAR
    elif sign.group() == "." and _CIRCA.search(before):
        whole, partial = _NUMBER, _PARTIAL_NUMBER
    else:
        return False
    if not ended and partial.match(rest):
        return None
    return whole.match(rest) is not None


def _word_end(text: str) -> int:
    """Return where the first word ends, combining marks included; 0 if there is no word."""
    match = _WORD.match(text)
    end = match.end() if match else 0
    while 0 < end < len(text) and _is_within_word(text[end]):
        more = _REST_OF_WORD.match(text, end + 1)
        end = more.end() if more else end + 1
    return end


def _is_within_word(character: str) -> bool:
    """True for characters that never separate words: combining marks and invisible joiners."""
    return character in "\u00ad\u200c\u200d" or unicodedata.category(character)[0] == "M"


def whole_number(text: str, token: str, *, ended: bool) -> str | None:
    """Return ``token`` with all digits of the number that it begins; None if more may follow.

    Args:
        text: the text from ``token`` on.
        token: the requested token; returned unchanged if it does not end in a digit.
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
    """Return the word before a position, if it is not longer than any abbreviation."""
    words = text[max(0, end - _LONGEST_ABBREVIATION) : end].rsplit(maxsplit=1)
    return words[-1] if words else ""


def drop_partial_word(text: str, unit: Unit) -> str:
    """Return the complete words of a unit cut by the token limit, or its single word."""
    if unit == "token":
        return text if not text.endswith("\ufffd") else ""
    match = re.match(r"\s*\S.*(?=\s)", text, flags=re.DOTALL)
    return (match.group().rstrip() if match else "") or text.rstrip()


def _overlap(text: str, value: str) -> int:
    """Return the length of the longest prefix of ``value``, at a word's start, ending ``text``."""
    for length in range(min(len(text), len(value)), 0, -1):
        if not text.endswith(value[:length]):
            continue
        before = text[-length - 1 : -length]
        if not (before.isalnum() and value[0].isalnum()):
            return length
    return 0
