"""Converts stored values to words of a text; used for the values of all databases.

A whole number is written without ".0" and without an exponent; what is no number (infinity, NaN) is
no value. An array or a JSON list holds several values, its elements; a JSON string is its text. A
machine's notation (bytes, composite values, ranges) is never said. A column of texts may hold JSON,
too: SQLite has no type for lists.
"""

from __future__ import annotations

import json
import numbers
import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

Kind = Literal["any", "text", "number", "time", "span", "json", "bytes", "none"]
"""The form of a value in a query's result: a Python object, or text in a certain format."""

_LONGEST_NUMBER = 600
"""Digits above which a number is none that could be said."""
_FLOAT = re.compile(r"-?\d\.\d+e[+-]\d\d+")
"""How SQLite writes a large or small number in a column of texts; nobody writes so in a text."""
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
        return _json(value)
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
    if kind in ("any", "text"):
        return _written(value)
    return [value]


def _written(value: str) -> list[str]:
    """What a column of texts holds, unless a program wrote it for programs."""
    bare = value.strip()
    if _FLOAT.fullmatch(bare):
        return _number(bare)
    if bare[:1] + bare[-1:] in ("[]", "{}"):
        with suppress(ValueError, RecursionError):
            return _elements(json.loads(bare, parse_float=Decimal, parse_int=Decimal))
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


def _json(text: str) -> list[str]:
    """The string of a JSON value, or those of a list; an object is none.

    SQLite checks nothing: a word in its column of JSON stands for itself.
    """
    try:
        return _elements(json.loads(text, parse_float=Decimal, parse_int=Decimal))
    except (ValueError, RecursionError):
        return [] if text.lstrip()[:1] in ("", "[", "{", '"') else [text]


def _elements(value: Any) -> list[str]:
    """The words of a JSON value that was read."""
    some = value if isinstance(value, list) else [value]
    plain = [element for element in some if isinstance(element, str | bool | Decimal)]
    return [word for element in plain for word in said(element)]


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
