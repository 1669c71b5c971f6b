"""Every user-facing error: a code, what happened with which values, and what to type next.

Raise ``LacyError("E20", tokens=10, marks=9)``; the command line prints ``str(error)`` without a
traceback and leaves with ``error.exit_code``. Codes are stable; a test holds that every code is
used and that its template's values are given where it is raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of error: templates for what happened and what to do, and the exit status."""

    what: str
    do: str
    exit_code: int = 2


USAGE, DATA, SOURCE = 2, 3, 4

CATALOG: dict[str, Entry] = {
    # E1x: settings and installation
    "E10": Entry("unknown setting {key!r} in {where}{hint}", "see the settings: lacy config {verb}", USAGE),
    "E11": Entry("{extra_for} needs the package {package!r}, which is not installed",
                 "pip install 'lacy[{extra}]'", USAGE),
    "E12": Entry("setting {key!r} is {value!r}: {why}", "{do}", USAGE),
    "E13": Entry("file or folder not found: {path}", "{do}", USAGE),
    # E2x: data and marks
    "E20": Entry("marks do not fit tokens: {tokens} tokens, {marks} marks in {where}",
                 "annotate again: {do}", DATA),
    # E3x: models and checkpoints
    # E4x: sources
}


class LacyError(Exception):
    """A mistake or failure that a user can act on.

    Args:
        code: a key of ``CATALOG``.
        values: what the entry's templates name.
    """

    def __init__(self, code: str, **values: Any) -> None:
        entry = CATALOG[code]
        self.code = code
        self.values = values
        self.what = entry.what.format(**values)
        self.do = entry.do.format(**values)
        self.exit_code = entry.exit_code
        super().__init__(f"[{code}] {self.what}\n  Do: {self.do}")
