"""Join values to a text, and find the end of a token, word or value."""

from __future__ import annotations

import html
import re
import unicodedata

from lacy._text import MONTHS
from lacy.annotate.grammar import is_unspaced
from lacy.types import Unit

_WORD = re.compile(
    r"\s*(?:(?:['’](?=[a-z]{1,2}\b)|[-−+±]?[$£€¥₹]?(?=\d))?\w+(?:['’.,\-–]\w+)*(?:(?<=\d)[%‰°])?"
    r"|[^\w\s]+)"
)
"""Signs, currencies and percent signs are part of a number; 's-Hertogenbosch is one word."""
_REST_OF_WORD = re.compile(r"\w*(?:['’.,\-–]\w+)*")
_CLAUSE = re.compile(r"(?:[,;!?…。，、]|:(?!/))(?=\D|$)|\.(?=\s|$)|[()\[\]\n]")
_DIGITS = re.compile(r"\d*(?:[.,]\d+)*")
_JOINS = ("'", "’", ".", ",", "-", "–")
_LONGEST_ABBREVIATION = 8
"""Number of characters examined before a dot; enough for any of ``_ABBREVIATIONS`` and a space."""

_MONTHS = "|".join(f"{name}|{name[:3]}" for name in MONTHS)
_DAY = re.compile(rf"\b(?:{_MONTHS}) \d{{1,2}}(?:st|nd|rd|th)?$")
_CIRCA = re.compile(r"(?:^|\s)(?:c|ca)$")
_YEAR, _PARTIAL_YEAR = re.compile(r" \d{3,4}(?!\d)"), re.compile(r" ?\d{0,4}$")
_NUMBER, _PARTIAL_NUMBER = re.compile(r" \d"), re.compile(r" ?$")
_DAY_LENGTH = 20
"""Maximum number of characters of the month and day of a date."""

_ABBREVIATIONS = ("St", "Dr", "Mr", "Mrs", "Ms", "Jr", "Sr", "No", "Mt", "Prof")
"""A dot after one of these, or after an initial, does not end a clause."""


_CHARACTER = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_POWER = re.compile(r"(?<=\d)<sup>(?=[-−+]?\d)", re.IGNORECASE)
_TAG = re.compile(
    r"</?(?:a|abbr|b|big|bdi|br|cite|code|em|font|i|nobr|nowiki|p|q|ref|s|small|span|strong|sub|sup"
    r"|u|wbr)(?:\s[^<>]{0,500})?/?>",
    re.IGNORECASE,
)


def plain_value(value: str) -> str:
    """Return a value without HTML: formatting tags are removed, entities such as &amp; decoded.

    A value that consists of nothing else ("<br>" in a table of tags) is returned unchanged.
    """
    if "&" not in value and "<" not in value:
        return value
    plain = _TAG.sub("", _POWER.sub("^", value))
    plain = _CHARACTER.sub(lambda match: html.unescape(match.group()), plain)
    plain = plain.replace("\xa0", " ").replace("\xad", "")
    return plain if plain.strip() else value


def relation_words(name: str) -> str:
    """Return a relation's name as words: ``birthPlace`` and ``birth_place`` as "birth place"."""
    spaced = re.sub(r"[_\s./-]+", " ", _CAMEL.sub(" ", name)).strip()
    return spaced if spaced.isupper() else spaced.lower()


def fact_sentence(subject: str, relation: str, value: str) -> str:
    """Return a sentence that states a fact.

    Returns "" if the relation has no name in words, such as ``DATE``, which is a kind of mark.
    """
    words, value = relation_words(relation), value.strip()
    named = words[-1:].isalpha() and not words.isupper()
    return f"{subject}'s {words} is {value}." if subject and named and value else ""


def continuation(text: str, value: str) -> str:
    """Return ``value`` as a continuation of ``text``, with a leading space if one is needed."""
    value = value.strip()
    if not value or not text or text[-1].isspace():
        return value
    before, after = text[-1], value[0]
    if unicodedata.category(before) in ("Ps", "Pi", "Pd") or before in "\"'/#@$£€":
        opens = before not in "\"'" or text.count(before) % 2 == 1
        return value if opens else " " + value
    begins_name = len(value) > 1 and value[1].isalpha()  # ".br", "!Kung"
    closes = unicodedata.category(after) in ("Pe", "Pf", "Po") and after not in "\"'&@#%*¿¡"
    if closes and not begins_name:
        return value
    if is_unspaced(before) or is_unspaced(after):
        return value
    return " " + value


def completions(text: str, value: str) -> list[str]:
    """Return all forms in which ``value`` can continue ``text``; the SLM chooses among them.

    The forms are the whole value (unless the text already ends with it) and, if the text ends with
    the beginning of the value, its remainder ("born on 12" + "12 March 1879" -> " March 1879").
    """
    value = value.strip()
    overlap = _overlap(text, value)
    if overlap >= len(value):
        return []
    return [continuation(text, value), *([value[overlap:]] if overlap else [])]


def cut_unit(text: str, unit: Unit, *, ended: bool) -> str:
    """Return the unit at the start of ``text``, or "" if more text could still change it.

    Args:
        text: the answer so far.
        unit: a ``"token"`` is returned unchanged; a ``"value"`` ends at the end of its clause.
        ended: True if the text is complete.
    """
    if unit == "token":
        return text
    if unit == "word":
        end = _word_end(text)
        rest = text[end:]
        # "O'" may become "O'Brien", so the word may be incomplete.
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
    """True if a comma or dot is inside a date ("May 12, 1815", "c. 1815"); None if undecided."""
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
    """Return the end of the first word with its combining marks, or 0 if there is no word."""
    match = _WORD.match(text)
    end = match.end() if match else 0
    while 0 < end < len(text) and _is_within_word(text[end]):
        more = _REST_OF_WORD.match(text, end + 1)
        end = more.end() if more else end + 1
    return end


def _is_within_word(character: str) -> bool:
    """True if a character never separates words: a combining mark or invisible joiner."""
    return character in "\u00ad\u200c\u200d" or unicodedata.category(character)[0] == "M"


def whole_number(text: str, token: str, *, ended: bool) -> str | None:
    """Extend ``token`` by all digits of the number it begins; return None if more may follow.

    Args:
        text: the text beginning with ``token``.
        token: the requested token; returned unchanged if it does not end in a digit.
        ended: True if the text is complete.
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
    """Return the word before ``end`` if it could be an abbreviation (by its length)."""
    words = text[max(0, end - _LONGEST_ABBREVIATION) : end].rsplit(maxsplit=1)
    return words[-1] if words else ""


def drop_partial_word(text: str, unit: Unit) -> str:
    """Drop a last word that the token limit may have cut, unless it is the only word."""
    if unit == "token":
        return text if not text.endswith("\ufffd") else ""
    match = re.match(r"\s*\S.*(?=\s)", text, flags=re.DOTALL)
    return (match.group().rstrip() if match else "") or text.rstrip()


def _overlap(text: str, value: str) -> int:
    """Return the length of the longest prefix of ``value`` that ends ``text`` as whole words."""
    for length in range(min(len(text), len(value)), 0, -1):
        if not text.endswith(value[:length]):
            continue
        before = text[-length - 1 : -length]
        if not (before.isalnum() and value[0].isalnum()):
            return length
    return 0
