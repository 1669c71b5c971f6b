"""One kind of error, and the status a command leaves with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of error: templates for what happened and what to do, exit status, and more.

    ``more`` is what ``lacy help error`` adds: why this is an error, in a sentence or two.
    """

    what: str
    do: str
    exit_code: int = 2
    more: str = ""


USAGE, DATA, SOURCE = 2, 3, 4
"""Exit codes: a mistake in the command, in the data or a checkpoint, or a source that fails."""
