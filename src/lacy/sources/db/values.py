"""Convert stored values to words of a text, and format dates and numbers.

Integers are written without ".0" and without exponent; infinity and NaN are ignored. Each element
of an array or JSON list is a value; a JSON string becomes its text. Values that only programs read
(bytes, composite values, ranges) have no text. A text column may also contain JSON, because SQLite
has no type for lists.

Date patterns use the codes of ``strftime``, in English on every computer: ``%-d %B %Y`` writes 12
May 1815. Number patterns are those of Python's ``format``: ``,.1f`` writes 1,234.5.
"""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

from lacy._text import MONTHS

ValueKind = Literal["any", "text", "number", "time", "interval", "json", "bytes", "none"]
"""Form of a value in a query's result: a Python object, or text in a certain format."""

Formatter = Callable[[str], list[str]]
"""Function that returns the written forms of a value; an empty list if it has none."""

_MOST_DIGITS = 600
"""Numbers with more digits are ignored."""
_FLOAT = re.compile(r"-?\d\.\d+e[+-]\d\d+")
"""Float in exponent notation, as SQLite stores it in text columns; texts write it differently."""
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
_INTERVAL = re.compile(r"(\d+) (year|mon|month|day)s?\b")
_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_DATE = re.compile(r"(-?\d{1,6})-(\d{1,2})-(\d{1,2})(?:[T ](?!BC).*?)?( BC)?$", re.DOTALL)
_CODE = re.compile(r"%(-?[A-Za-z%]|.?)", re.DOTALL)
_CODES = ("d", "-d", "m", "-m", "B", "b", "Y", "%")


def value_texts(value: Any, kind: ValueKind = "any") -> list[str]:
    """Return the texts of a stored value: none, one, or one per element of a list."""
    if value is None or kind == "none":
        return []
    if isinstance(value, list | tuple):
        return [text for element in value for text in value_texts(element, kind)]
    if isinstance(value, str):
        return _json(value) if kind == "json" else _text(value, kind)
    if isinstance(value, bytes | bytearray | memoryview):
        return _bytes(bytes(value))
    if isinstance(value, Mapping | set | frozenset):
        return []
    if isinstance(value, bool) or str(value) in ("True", "False"):  # numpy.bool is not bool
        return [str(value).lower()]
    if isinstance(value, numbers.Number):
        return _number(value)
    return [str(value)]


def _text(value: str, kind: ValueKind) -> list[str]:
    if kind == "number":
        return _number(value)
    if kind == "interval":
        return _interval(value)
    if kind == "time" and value.strip().lstrip("-").lower() in ("infinity", "inf"):
        return []
    stripped = value.strip()
    if kind in ("any", "text"):
        if _FLOAT.fullmatch(stripped):
            return _number(stripped)
        if stripped[:1] + stripped[-1:] in ("[]", "{}"):
            with suppress(ValueError, RecursionError):
                return _elements(stripped)
    return [value]


def _number(value: Any) -> list[str]:
    """Return a number as texts write it: 1815.0 becomes 1815, 1e16 all digits; 12.50 stays."""
    try:
        number = Decimal(str(value))
    except (InvalidOperation, ValueError):  # not plain numbers: money, complex, very long integers
        return [value] if isinstance(value, str) else []
    if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
        return []
    text = format(number, "f")
    whole, _, fraction = text.partition(".")
    text = text if fraction.strip("0") else whole
    return ["0" if text == "-0" else text]


def _bytes(value: bytes) -> list[str]:
    """Decode bytes that contain text; return [] for binary data such as images."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return []
    return [] if _CONTROL.search(text) else [text]


def _json(text: str) -> list[str]:
    """Return the text of a JSON value, the texts of a list, or [] for an object.

    SQLite does not validate JSON columns, so plain text that is not JSON is returned unchanged.
    """
    try:
        return _elements(text)
    except (ValueError, RecursionError):
        return [] if text.lstrip()[:1] in ("", "[", "{", '"') else [text]


def _elements(text: str) -> list[str]:
    value = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    elements = value if isinstance(value, list) else [value]
    scalars = [element for element in elements if isinstance(element, str | bool | Decimal)]
    return [text for element in scalars for text in value_texts(element)]


def _interval(text: str) -> list[str]:
    """Write an interval in words: "3 years 2 mons 04:00:00" becomes 3 years 2 months 4 hours."""
    parts = [(n, "month" if unit == "mon" else unit) for n, unit in _INTERVAL.findall(text)]
    rest = _INTERVAL.sub(" ", text)
    if clock := _CLOCK.search(rest):
        parts += zip(clock.groups(), ("hour", "minute", "second"), strict=True)
        rest = _CLOCK.sub(" ", rest, count=1)
    if rest.strip():  # a sign or an unknown notation
        return []
    counts = [(_number(n)[0], unit) for n, unit in parts]
    words = [f"{n} {unit}{'s' * (n != '1')}" for n, unit in counts if n != "0"]
    return [" ".join(words)] if words else []


# ---------------------------------------------------------------------------------- formatting


def date_pattern_problem(pattern: str) -> str:
    """Return what is wrong with a date pattern, or ""."""
    codes = [match.group(1) for match in _CODE.finditer(pattern)]
    for code in codes:
        if code not in _CODES:
            known = ", ".join(f"%{c}" for c in _CODES)
            return f"%{code} is not one of {known}"
    return "" if codes else 'it names no part of a date; for example "%-d %B %Y"'


def number_pattern_problem(pattern: str) -> str:
    """Return what is wrong with a number pattern, or ""."""
    try:
        format(1234.5, pattern)
    except ValueError as error:
        return f'{error}; for example ",.1f"'
    return "" if len(pattern) <= 12 and not re.search(r"\d{3}", pattern) else "it is too long"


def make_formatter(
    dates: Sequence[str] = (), number: str | None = None, text: str = "{}"
) -> Formatter:
    """Return a function that formats the values of a relation.

    Args:
        dates: date patterns, one for each written form; other values are not changed.
        number: number pattern; values that are not numbers are not changed.
        text: text around the value; ``{}`` stands for the value.
    """

    def write(value: Any) -> list[str]:
        forms = value_texts(value)
        if dates:
            forms = [_format_date(form, pattern) for form in forms for pattern in dates]
        elif number is not None:
            forms = [_format_number(form, number) for form in forms]
        return [text.replace("{}", form.strip()) for form in forms if form.strip()]

    return write


def _format_date(value: str, pattern: str) -> str:
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


def _format_number(value: str, pattern: str) -> str:
    # Decimal preserves all digits, but some patterns reject it ("d" needs an integer).
    for kind in (Decimal, int, float):
        try:
            number = kind(value)
            return format(number, pattern) if math.isfinite(number) else value
        except (ValueError, ArithmeticError):
            continue
    return value
