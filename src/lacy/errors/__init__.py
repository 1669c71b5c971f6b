"""Every user-facing error: a code, what happened with which values, and what to type next.

Raise ``LacyError("E20", tokens=10, marks=9)``; the command line prints ``str(error)`` without a
traceback and leaves with ``error.exit_code``. Codes are stable; a test holds that every code is
used and that its template's values are given where it is raised.
"""

from __future__ import annotations

from typing import Any

from lacy.errors import general, models, outside
from lacy.errors.entry import DATA, SOURCE, USAGE, Entry
from lacy.errors.plain import STEERING, clean, cleaned

__all__ = [
    "CATALOG", "DATA", "SOURCE", "STEERING", "USAGE", "Entry", "LacyError", "clean", "cleaned",
]  # fmt: skip

CATALOG: dict[str, Entry] = {**general.ENTRIES, **models.ENTRIES, **outside.ENTRIES}


class LacyError(Exception):
    """A mistake or failure that a user can act on.

    Args:
        code: a key of ``CATALOG``.
        values: the fields of the entry's templates; terminal control characters are removed.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        entry = CATALOG[code]
        self.code = code
        self.values = values
        shown = {name: cleaned(value) for name, value in values.items()}
        self.what = entry.what.format(**shown)
        self.do = entry.do.format(**shown)
        self.exit_code = entry.exit_code
        super().__init__(f"[{code}] {self.what}\n  Do: {self.do}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets the error travel from a worker process."""
        return _remake, (self.code, self.values)


def _remake(code: str, values: dict[str, Any]) -> LacyError:
    return LacyError(code, **values)
