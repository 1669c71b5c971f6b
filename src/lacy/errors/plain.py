"""Makes untrusted text safe for messages: one line, no terminal control characters."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Terminal control characters and bidirectional overrides, except tabs and line feeds."""

LIST = "\n  - "
"""The start of a list of problems."""

_ENDS = re.compile("[\n\u2028\u2029]+")
_HALVES = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """Returns the text on one line, without terminal control characters.

    Lone surrogates, as in file names that are not UTF-8, become U+FFFD.
    """
    return " ".join(_HALVES.sub("\ufffd", STEERING.sub(" ", text)).split())


def cleaned(value: Any) -> Any:
    """Returns a value that is safe in a message; strings, paths and exceptions become one line.

    A list of problems, which lacy itself starts with ``LIST``, keeps its lines.
    """
    if isinstance(value, PurePath | BaseException):
        value = str(value)
    if not isinstance(value, str):
        return value
    if value.startswith(LIST):
        return "\n".join(map(_line, value.split("\n")))
    return _line(value)


def _line(text: str) -> str:
    return _HALVES.sub("\ufffd", STEERING.sub(" ", _ENDS.sub(" ", text)))
