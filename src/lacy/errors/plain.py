"""Text from outside as it may stand in a message: on one line, steering no terminal."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that steer a terminal or turn the order of letters, other than tabs and line feeds."""

LIST = "\n  - "
"""How a list of problems begins."""

_ENDS = re.compile("[\n\u2028\u2029]+")
_HALVES = re.compile("[\ud800-\udfff]")


def clean(text: str) -> str:
    """A text in one line, without the characters that steer a terminal.

    Halves of surrogate pairs, as in file names that are not UTF-8, become U+FFFD.
    """
    return " ".join(_HALVES.sub("\ufffd", STEERING.sub(" ", text)).split())


def cleaned(value: Any) -> Any:
    """A value as it may stand in a message: texts and paths on one line, without what steers.

    A list of problems, which lacy itself begins with ``LIST``, keeps its lines.
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
