"""Find the complete values in a text: numbers, measures, money, dates and times.

A value includes its sign, qualifier (``c.``), currency, unit and both ends of a range.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from lacy.annotate.grammar import dates, measures, numbers
from lacy.types import Reason


class Value(NamedTuple):
    """A complete value, the characters ``[start, end)``; ``reason`` is DATE or NUMBER."""

    start: int
    end: int
    reason: Reason


_WORDS = dates.FIRST_WORDS | measures.FIRST_WORDS
_ANY_CASE = dates.FIRST_WORDS_ANY_CASE | numbers.FIRST_WORDS
_FIRST = re.compile(
    rf"(?P<word>[^\W\d_]{{1,12}}+)(?![^\W\d_])|\d++|[^\W\d_]{{13,}}+"
    rf"|[{numbers.PARTS}]|[{measures.FIRST_SIGNS}±~∼≈<>≤≥](?={numbers.GAP}?[-+\u2212.$£€¥]?\d)"
    r"|[.'’+\u2013\u2212-](?=\d|[$£€¥]\d)"
)
"""Cheap filter for the start of a value; if it is a word, it must be in one of the word lists."""

_SCALE = re.compile(
    rf"[ -](?:{numbers.SCALES}|{numbers.PARTS_IN_WORDS}|quarter (?:past|to)\b)|\.|\$"
)

_LONE = re.compile(r"[^\W\d_]+")
"""A single word; it is a value only if it names a day or an hour."""

_FULL = re.compile(r"[A-Z][a-z]{2,}\W.{0,8}\d{3}|\d{1,4}[./-]\d{1,2}[./-]\d{1,4}")
"""A date with month and year."""

_YEAR = re.compile(r"1\d{3}|20\d{2}")

_QUALIFIERS = re.compile(
    r"(?<!\w)(?i:(?:(?:about|around|approximately|approx\.|roughly|nearly|almost|over|under|above|below"
    r"|more than|less than|fewer than|at least|at most|up to|as (?:many|much|high|low|few) as"
    r"|no (?:more|less|fewer) than|just|well|exactly|only|between|from|some) ){1,3})$"
)
_DATE_QUALIFIERS = re.compile(
    r"(?<!\w)(?i:(?:(?:about|around|approximately|roughly|nearly|between|from|before|after|since|until|by|not|no|earlier|later|than"
    r"|the|the year|early in|late in|fl\.|b\.|d\.|r\.) ){1,3})$"
)
_QUALIFIER_REACH = 40
"""Number of characters before a value that are searched for qualifiers."""

MAX_SIDES = 3
"""Maximum of further numbers after the first, as in the sides of a box ("2 × 3 × 4 m")."""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.VERBOSE)


def compile_all() -> None:
    """Compile the grammar now, so that the first text is not slowed down by tenths of a second."""
    for pattern in (*dates.DATES, dates.UNTIL, dates.OPEN_END, *measures.MEASURES, measures.JOIN):
        _compiled(pattern)
    _compiled(numbers.COUNT)


def whole_values(text: str) -> Iterator[Value]:
    """Yield the values of a text in order, without overlaps, in linear time."""
    reach = 0
    for first in _FIRST.finditer(text):
        start = first.start()
        if start < reach:
            continue
        word = first["word"]
        if text[start].isalpha() and not (word and _begins(text, word, first.end())):
            continue
        value = _value_at(text, start)
        if value is not None:
            reach = value.end
            yield value


def extend_value(text: str, start: int, end: int, *, date: bool) -> tuple[int, int]:
    """Extend a value by its qualifiers and by the other end of a period.

    "40 km" becomes "about 40 km", "1890s" "the 1890s", "1914 to 1918" "from 1914 to 1918", and
    "12 May 1914" "12 May 1914 to 3 June 1915".
    """
    qualifiers = _DATE_QUALIFIERS if date else _QUALIFIERS
    before = qualifiers.search(text, max(0, start - _QUALIFIER_REACH), start)
    if (joined := _compiled(dates.UNTIL).match(text, end)) and _FULL.search(text, start, end):
        after = _longest(text, joined.end(), dates.DATE)
        if after > joined.end() and (
            "and" not in joined.group() or _follows(text, start, "between ")
        ):
            end = after
    return (before.start() if before else start), end


def _begins(text: str, word: str, end: int) -> bool:
    """True if a value may begin with this word."""
    if word in ("a", "an", "A", "An"):
        return _SCALE.match(text, end) is not None
    return word in _WORDS or word.lower() in _ANY_CASE


def _value_at(text: str, start: int) -> Value | None:
    """Return the longest value that begins at ``start``; a date wins a tie."""
    if start and _joins(text[start - 1]) and _joins(text[start]):
        return None
    date, number = _date_end(text, start), _number_end(text, start)
    end = max(date, number)
    if end == start or (date < end and _LONE.fullmatch(text, start, end)):
        return None
    return Value(start, end, "DATE" if date == end else "NUMBER")


def _longest(text: str, start: int, *patterns: str) -> int:
    """Return the end of the longest match, or ``start`` if nothing matches."""
    matches = (_compiled(pattern).match(text, start) for pattern in patterns)
    return max((match.end() for match in matches if match), default=start)


def _date_end(text: str, start: int) -> int:
    """Return the end of the date, hour or period at ``start``.

    Two full dates stay two values ("12 May 1751 – 3 June 1801"); two years, and a date that takes
    its year from the next one, are one value ("1914–1918", "May to June 1914").
    """
    end = _longest(text, start, *dates.DATES)
    joined = _compiled(dates.UNTIL).match(text, end) if end > start else None
    if joined is None or ("and" in joined.group() and not _follows(text, start, "between ")):
        return end
    at = joined.end()
    if present := _compiled(dates.OPEN_END).match(text, at):
        return present.end()
    after = _longest(text, at, dates.DATE)
    full = _FULL.search(text, start, end) and _FULL.search(text, at, after)
    return end if after == at or full else after


def _number_end(text: str, start: int) -> int:
    """Return the end of the number, measure or sum of money at ``start``, or of a range of them."""
    end, unitless = _measure(text, start)
    begin = start
    for _ in range(MAX_SIDES):
        joined = _compiled(measures.JOIN).match(text, end) if end > start else None
        if joined is None:
            break
        at, word = joined.end(), joined.group().strip()
        after, plain = _measure(text, at)
        left, right = (start, begin, end, unitless), (at, after, plain)
        if after == at or not _one_range(text, left, word, right):
            break
        begin, end, unitless = at, after, plain
    return end


def _one_range(
    text: str, left: tuple[int, int, int, bool], word: str, right: tuple[int, int, bool]
) -> bool:
    """True if the numbers on both sides of a joining word or dash form one value."""
    start, begin, end, unitless = left
    at, after, plain = right
    if word == "and":
        return _follows(text, start, "between ")
    if not word.isalpha() or word == "x":
        return True
    if word == "by" and unitless and not text[begin].isdigit():  # "one by one"
        return False
    if not unitless:  # "from 5% to 12%" is a change, two values
        return word != "or" and not (word == "to" and _follows(text, start, "from "))
    if text[begin].isdigit() != text[at].isdigit():
        return False
    return not (plain and _YEAR.fullmatch(text, begin, end) and after - at < 3)


def _measure(text: str, start: int) -> tuple[int, bool]:
    """Return the end of one number with its unit, and True if it has no unit."""
    unitless = _longest(text, start, numbers.COUNT)
    end = _longest(text, start, *measures.MEASURES)
    return max(unitless, end), unitless >= end


def _follows(text: str, start: int, word: str) -> bool:
    return text[max(0, start - len(word)) : start].lower() == word


def _joins(character: str) -> bool:
    """True if two such characters in a row belong to the same word."""
    return (character.isalnum() or character == "_") and not is_unspaced(character)


_UNSPACED = re.compile("[\u0e00-\u0eff\u2e80-\ua4cf\uf900-\ufaff]")


def is_unspaced(text: str) -> bool:
    """True if a text contains a script without spaces (Chinese, Japanese, Thai, ...)."""
    return bool(_UNSPACED.search(text))
