"""Converts stored values to words of a text; used for the values of all databases.

Whole numbers are written without ".0" and without an exponent; infinity and NaN give no value. Each
element of an array or JSON list is a value; a JSON string gives its text. Binary data, composite
values and ranges give no value.
"""

from __future__ import annotations

import json
import numbers
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

Kind = Literal["any", "text", "number", "time", "span", "json", "bytes", "none"]
"""The form of a value in a query's result: a Python object, or text in a certain format."""

_LONGEST_NUMBER = 600
"""Most digits of a number; longer ones give no value."""
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_SPAN = re.compile(r"(\d+) (year|mon|month|day)s?\b")
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def said(value: Any, kind: Kind = "any") -> list[str]:
    """The words for a value: none, one, or one for each element of a list."""
    if value is None or kind == "none":
        return []
    if isinstance(value, list | tuple):
        return [word for element in value for word in said(element, kind)]
    if kind == "json" and isinstance(value, str):
        return list(_json(value))
    if isinstance(value, str):
        return _text(value, kind)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value))
    if isinstance(value, Mapping | set | frozenset):
        return []
    if isinstance(value, bool) or str(value) in ("True", "False"):  # numpy.bool is not bool
        return [str(value).lower()]
    if isinstance(value, numbers.Number):
        return _number(value)
    return [str(value)]


def _text(value: str, kind: Kind) -> list[str]:
    if kind == "number":
        return _number(value)
    if kind == "span":
        return _span(value)
    if kind == "time" and value.strip().lstrip("-").lower() in ("infinity", "inf"):
        return []
    return [value]


def _number(value: Any) -> list[str]:
    """A number as it is written: 1815.0 is 1815, 1e16 is 10000000000000000, 12.50 stays."""
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):  # money, complex numbers, very long integers
        return [value] if isinstance(value, str) else []
    if not number.is_finite() or abs(number.adjusted()) > _LONGEST_NUMBER:
        return []
    written = format(number, "f")
    whole, _, fraction = written.partition(".")
    written = written if fraction.strip("0") else whole
    return ["0" if written == "-0" else written]


def _bytes(value: bytes) -> list[str]:
    """The text in some bytes; binary data such as images give none."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return []
    return [] if _CONTROL.search(text) else [text]


def _json(text: str) -> Iterator[str]:
    """The string of a JSON value, or the strings of a list; an object gives none."""
    try:
        value = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError):
        return
    for element in value if isinstance(value, list) else [value]:
        if isinstance(element, str | bool | Decimal):
            yield from said(element)


def _span(text: str) -> list[str]:
    """An interval: "3 years 2 mons 04:00:00" becomes 3 years 2 months 4 hours."""
    parts = [(n, "month" if unit == "mon" else unit) for n, unit in _SPAN.findall(text)]
    rest = _SPAN.sub(" ", text)
    if clock := _CLOCK.search(rest):
        parts += zip(clock.groups(), ("hour", "minute", "second"), strict=True)
        rest = _CLOCK.sub(" ", rest, count=1)
    if rest.strip():  # a sign or an unknown notation
        return []
    counts = [(_number(n)[0], unit) for n, unit in parts]
    words = [f"{n} {unit}{'s' * (n != '1')}" for n, unit in counts if n != "0"]
    return [" ".join(words)] if words else []
