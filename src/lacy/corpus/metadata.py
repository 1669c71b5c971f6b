"""Clean the fields beside a row's text: keep plain values, drop damaged cells."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from lacy._text import SURROGATE
from lacy.types import Mark, Reason

SUBJECT_FIELDS = ("title", "person", "subject")
"""Fields that name the subject of a text; numbers in them are converted to strings."""

MAX_NAME_LENGTH = 1_000
"""Maximum characters of such a field; longer values are not names."""

MAX_DEPTH = 32
"""Maximum nesting of lists and objects in a cell."""

_MAX_BITS = 4_096
"""Maximum bits of an integer; Python refuses to convert much larger ones to decimal."""

_MAX_VALUES = 100_000
"""Maximum number of values in the lists and objects of a cell."""

NOT_FINITE = "no finite number"

_REASONS = frozenset(get_args(Reason))
_FORMATTED = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal)


@dataclass(frozen=True, slots=True)
class UnreadableValue:
    """A value that could not be read."""

    why: str


def plain_cells(
    row: Mapping[Any, Any], left_out: set[str], skip: Callable[[str, str], None]
) -> dict[str, Any]:
    """Return the cells of a row with plain values.

    Args:
        row: values by name.
        left_out: names of cells that the caller handles.
        skip: called with a name and a reason for each damaged cell. An object with NaN or
            infinite numbers in it is kept, with null in their place.
    """
    kept: dict[str, Any] = {}
    for key, value in row.items():
        name = str(key)
        if name in left_out:
            continue
        if type(value) is str and value.isascii() and name.isascii() and name not in SUBJECT_FIELDS:
            kept[name] = value  # fast path for nearly all cells: these types need no check
        elif _has_surrogate(name):
            skip(repr(name), "half a surrogate pair in its name")
        elif why := _problem(value):
            inside = why == NOT_FINITE and isinstance(value, dict)
            skip(repr(name), f"{why} in it; null instead" if inside else why)
            if inside:
                kept[name] = _finite(value)
        elif name in SUBJECT_FIELDS:
            if why := _not_a_name(value):
                skip(repr(name), why)
            elif value is not None:
                whole = isinstance(value, float) and value.is_integer()
                kept[name] = str(int(value) if whole else value)
        elif isinstance(value, _FORMATTED):
            kept[name] = str(value)
        elif value is None or isinstance(value, bool | int | float | str | list | dict):
            kept[name] = value
    return kept


def _not_a_name(value: Any) -> str:
    if not isinstance(value, str | int | float | None) or isinstance(value, bool):
        return f"a {type(value).__name__}, no text"
    long = len(str(value)) > MAX_NAME_LENGTH
    return f"more than {MAX_NAME_LENGTH} characters" if long else ""


def _has_surrogate(text: str) -> bool:
    """True if a text contains a lone surrogate, which cannot be written as UTF-8."""
    return not text.isascii() and SURROGATE.search(text) is not None


def _problem(value: Any) -> str:
    """Return why a value must be dropped, or "" if it can be kept."""
    if not isinstance(value, dict | list | tuple):
        return _scalar_problem(value)
    left = [(value, 0)]
    count, found = 0, ""
    while left:
        one, depth = left.pop()
        count += 1
        if count > _MAX_VALUES or depth > MAX_DEPTH:
            return "too many values" if count > _MAX_VALUES else f"nested deeper than {MAX_DEPTH}"
        if isinstance(one, dict | list | tuple) and len(one) > _MAX_VALUES:
            return "too many values"
        if isinstance(one, dict):
            left += ((inner, depth + 1) for pair in one.items() for inner in pair)
        elif isinstance(one, list | tuple):
            left += ((inner, depth + 1) for inner in one)
        elif why := _scalar_problem(one):
            if why != NOT_FINITE:
                return why
            found = why
    return found


def _scalar_problem(value: Any) -> str:
    if isinstance(value, UnreadableValue):
        return value.why
    if isinstance(value, str):
        return "half a surrogate pair" if _has_surrogate(value) else ""
    if isinstance(value, int):
        return f"a number of {value.bit_length()} bits" if value.bit_length() > _MAX_BITS else ""
    return NOT_FINITE if isinstance(value, float) and not math.isfinite(value) else ""


def _finite(value: Any) -> Any:
    """Return a value with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def marks_of(stored: Any, length: int) -> tuple[Mark, ...]:
    """Parse stored marks: lists ``[start, end, reason, relation, label]`` or objects.

    Raises:
        ValueError, TypeError: a mark does not fit a text of ``length`` characters.
    """
    if not isinstance(stored, list):
        return ()
    marks = []
    for item in stored:
        mark = Mark(**item) if isinstance(item, dict) else Mark(*item)
        if not (type(mark.start) is type(mark.end) is int and 0 <= mark.start < mark.end <= length):
            raise ValueError(
                f"{_short_range(mark.start, mark.end)} in a text of {length} characters"
            )
        if not isinstance(mark.reason, str) or mark.reason not in _REASONS:
            raise ValueError(f"unknown reason {mark.reason!r:.80}")
        for name, kind in (("relation", mark.relation), ("label", mark.label)):
            if kind is not None and not isinstance(kind, str):
                raise ValueError(f"the {name} is a {type(kind).__name__}, not text")
            if kind and (_has_surrogate(kind) or len(kind) > 1_000):
                raise ValueError(f"the {name} is not valid text (a lone surrogate)")
        marks.append(mark)
    return tuple(sorted(marks, key=lambda mark: (mark.start, mark.end)))


def _short_range(start: Any, end: Any) -> str:
    def shown(value: Any) -> str:
        big = isinstance(value, int) and value.bit_length() > 64
        return "a huge number" if big else f"{value!r:.20}"

    return f"[{shown(start)}, {shown(end)})"
