"""Dates and numbers as texts write them, from how a database stores them.

Dates take the codes of ``strftime``, in English on every computer: ``%-d %B %Y`` is 12 May 1815.
Numbers take those of Python's ``format``: ``,.1f`` is 1,234.5.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from lacy.sources.db.facts import Writer
from lacy.sources.db.values import said

MONTHS = (
    "January February March April May June July August September October November December".split()
)
_DATE = re.compile(r"(-?\d{1,6})-(\d{1,2})-(\d{1,2})(?:[T ](?!BC).*?)?( BC)?$", re.DOTALL)
_CODE = re.compile(r"%(-?[A-Za-z%]|.?)", re.DOTALL)
_CODES = ("d", "-d", "m", "-m", "B", "b", "Y", "%")


def check_date(pattern: str) -> str:
    """What is wrong with a pattern for dates; empty if nothing."""
    codes = [match.group(1) for match in _CODE.finditer(pattern)]
    for code in codes:
        if code not in _CODES:
            known = ", ".join(f"%{c}" for c in _CODES)
            return f"%{code} is none of {known}"
    return "" if codes else 'it names no part of a date; for example "%-d %B %Y"'


def check_number(pattern: str) -> str:
    """What is wrong with a pattern for numbers; empty if nothing."""
    try:
        format(1234.5, pattern)
    except ValueError as error:
        return f'{error}; for example ",.1f"'
    return "" if len(pattern) <= 12 and not re.search(r"\d{3}", pattern) else "it is too long"


def writer(dates: Sequence[str] = (), number: str | None = None, text: str = "{}") -> Writer:
    """How one kind of value is written.

    Args:
        dates: patterns of a date, each a writing of its own; values that are none stay as they are.
        number: the pattern of a number; values that are none stay as they are.
        text: what stands around the value, which takes the place of ``{}``.
    """

    def write(value: Any) -> list[str]:
        words = ways = said(value)
        if dates:
            ways = [_date(word, pattern) for word in words for pattern in dates]
        elif number is not None:
            ways = [_number(word, number) for word in words]
        return [text.replace("{}", way.strip()) for way in ways if way.strip()]

    return write


def _date(value: str, pattern: str) -> str:
    match = _DATE.match(value.strip())
    if match is None:
        return value
    year, month, day = (int(part) for part in match.groups()[:3])
    if match[4]:
        year = -year
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return value
    name = MONTHS[month - 1]
    parts = {
        "d": f"{day:02}", "-d": str(day), "m": f"{month:02}", "-m": str(month), "B": name,
        "b": name[:3], "Y": str(year) if year > 0 else f"{-year} BC", "%": "%",
    }  # fmt: skip
    return _CODE.sub(lambda code: parts[code[1]], pattern)


def _number(value: str, pattern: str) -> str:
    # A Decimal keeps every digit, but not all patterns are for it ("d" wants an integer).
    for kind in (Decimal, int, float):
        try:
            number = kind(value)
            return format(number, pattern) if math.isfinite(number) else value
        except (ValueError, ArithmeticError):
            continue
    return value
