"""Make untrusted text safe to print: one line without terminal control characters."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from lacy._text import SURROGATE

CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Terminal control characters and bidirectional overrides, except tabs and line feeds."""

LIST_START = "\n  - "
"""Separator before each item of a list of problems in a message."""

_LINE_ENDS = re.compile("[\n\u2028\u2029]+")


def one_line(text: str) -> str:
    """Return the text on one line without terminal control characters.

    Lone surrogates (from file names that are not UTF-8) become U+FFFD.
    """
    return " ".join(_printable(text).split())


def sanitized(value: Any) -> Any:
    """Return a value that is safe in a message; strings, paths and exceptions become one line.

    A list of problems made by lacy keeps its line breaks; it is recognised by ``LIST_START``.
    """
    if isinstance(value, PurePath | BaseException):
        value = str(value)
    if not isinstance(value, str):
        return value
    if value.startswith(LIST_START):
        return "\n".join(_joined_lines(line) for line in value.split("\n"))
    return _joined_lines(value)


def _printable(text: str) -> str:
    return SURROGATE.sub("\ufffd", CONTROL_CHARACTERS.sub(" ", text))


def _joined_lines(text: str) -> str:
    return _printable(_LINE_ENDS.sub(" ", text))
