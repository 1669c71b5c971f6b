"""Define the type of a catalogue entry, and the exit codes of commands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One kind of error: templates for what happened and what to do, and an exit code.

    ``more`` explains why this is an error; ``lacy help error`` prints it.
    """

    what: str
    do: str
    exit_code: int = 2
    more: str = ""


USAGE, DATA, SOURCE = 2, 3, 4
"""Exit codes: a mistake in the command, bad data or a bad checkpoint, a failing source."""
