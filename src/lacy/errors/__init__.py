"""Define all errors that users can meet: a code, what happened, and what to do next.

Raise ``LacyError("E20", tokens=10, marks=9)``. The command line prints ``str(error)`` without a
traceback and exits with ``error.exit_code``. Codes are stable. Tests check that every code is used,
and that each ``raise`` passes all values of its template.
"""

from __future__ import annotations

from typing import Any

from lacy.errors import (
    blade,
    clean,
    compress,
    decide,
    deltas,
    distill,
    edge,
    exact,
    factscore,
    federate,
    general,
    harness,
    judges,
    models,
    outside,
    pruning,
    quantization,
    routing,
    runtimes,
    safety,
    scorecards,
    vocabulary,
)
from lacy.errors.entry import DATA, SOURCE, USAGE, Entry
from lacy.errors.sanitize import CONTROL_CHARACTERS, one_line, sanitized

__all__ = [
    "CATALOG", "CONTROL_CHARACTERS", "DATA", "SOURCE", "USAGE", "Entry", "LacyError", "one_line",
    "sanitized",
]  # fmt: skip

CATALOG: dict[str, Entry] = {
    **general.ENTRIES,
    **models.ENTRIES,
    **outside.ENTRIES,
    **quantization.ENTRIES,
    **runtimes.ENTRIES,
    **judges.ENTRIES,
    **factscore.ENTRIES,
    **harness.ENTRIES,
    **exact.ENTRIES,
    **scorecards.ENTRIES,
    **pruning.ENTRIES,
    **distill.ENTRIES,
    **vocabulary.ENTRIES,
    **compress.ENTRIES,
    **decide.ENTRIES,
    **federate.ENTRIES,
    **safety.ENTRIES,
    **deltas.ENTRIES,
    **edge.ENTRIES,
    **routing.ENTRIES,
    **blade.ENTRIES,
    **clean.ENTRIES,
}


class LacyError(Exception):
    """Raised for every mistake or failure that the user can act on.

    Args:
        code: a key of ``CATALOG``.
        values: the fields of the entry's templates; terminal control characters are removed.
    """

    def __init__(self, code: str, /, **values: Any) -> None:
        entry = CATALOG[code]
        self.code = code
        self.values = values
        shown = {name: sanitized(value) for name, value in values.items()}
        self.what = entry.what.format(**shown)
        self.do = entry.do.format(**shown)
        self.exit_code = entry.exit_code
        super().__init__(f"[{code}] {self.what}\n  Do: {self.do}")

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, unpickling calls the class with the message only, so worker processes could
        # not send the error back.
        return _rebuild, (self.code, self.values)


def _rebuild(code: str, values: dict[str, Any]) -> LacyError:
    return LacyError(code, **values)
