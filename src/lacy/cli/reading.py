"""Prints what was skipped, left out or guessed while texts were read, and where."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from lacy.cli.verb import say

if TYPE_CHECKING:
    from lacy.corpus import ReadReport

SHOWN = 3
"""Places named for each reason."""


def tell(report: ReadReport, out: TextIO | None = None) -> None:
    """Prints each reason with its first places, by default beside the output."""
    for sentence, places in report.lines():
        say(sentence, file=out or sys.stderr)
        if sentence.endswith("x wrong encoding"):
            say(
                "  to read them, give their encoding: --encoding windows-1251, shift_jis ...",
                file=out or sys.stderr,
            )
        for place in places[:SHOWN]:
            say(f"  {place}", file=out or sys.stderr)
