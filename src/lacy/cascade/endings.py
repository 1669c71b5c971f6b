"""Find where a clause or a sentence ends while a text is generated."""

from __future__ import annotations

import re
from typing import Literal

Part = Literal["clause", "sentence"]

_END: dict[Part, re.Pattern[str]] = {
    "clause": re.compile(r"(?:(?<!\b[A-Z])\.|[;:!?])\s$|,\s[^\d\s]$|[\n)\]}]$"),
    "sentence": re.compile(r"(?:(?<!\b[A-Z])\.|[!?])[\"”’']?\s$|\n$"),
}
"""The end, recognised one character later: "J. R." and "May 12, 1815" continue."""

_TAIL = 4
"""Number of characters that the patterns examine."""


class EndOf:
    """Finds the end of a clause or sentence in a text that arrives in parts."""

    def __init__(self, part: Part) -> None:
        self._end, self._tail = _END[part], ""

    def find(self, text: str) -> int | None:
        """Return the index in the next part of the text at which it has ended; None if not yet."""
        for place, character in enumerate(text):
            self._tail = (self._tail + character)[-_TAIL:]
            if self._end.search(self._tail):
                return place
        return None
