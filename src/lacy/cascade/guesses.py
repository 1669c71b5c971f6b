"""Finds the words that the model wrote after a call that found nothing.

The model asked for a fact, no source had it, and the model continued alone: its words up to the end
of the clause are a guess, so they are the least reliable ones. Pages and terminals mark them
(``page/unconfirmed.js`` applies the same rule in the browser).
"""

from __future__ import annotations

import re

from lacy.types import Answer, Span

_END = re.compile(r"(?:(?<!\b[A-Z])\.|[;:!?])\s$|,\s[^\d\s]$|[\n)\]}]$")
"""The end of a clause, recognised one character later: "J. R." and "May 12, 1815" continue."""

_TAIL = 4
"""Number of characters that ``_END`` examines."""


class Unconfirmed:
    """Follows one text span by span; spans may arrive in pieces while the text is written."""

    def __init__(self) -> None:
        self._open = False
        self._tail = ""

    def split(self, span: Span) -> list[tuple[str, bool]]:
        """The parts of a span's text, each with whether it is unconfirmed.

        Args:
            span: the next span, or the next piece of one.
        """
        if span.speaker != "slm":
            self._open = False
        elif span.asked:
            self._open, self._tail = True, ""
        if not self._open:
            return [(span.text, False)]
        for place, character in enumerate(span.text):
            self._tail = (self._tail + character)[-_TAIL:]
            if _END.search(self._tail):
                self._open = False
                parts = [(span.text[:place], True), (span.text[place:], False)]
                return [part for part in parts if part[0]]
        return [(span.text, True)]


def unconfirmed(answer: Answer) -> list[tuple[int, int]]:
    """The unconfirmed parts of an answer's text, as [start, end) in characters."""
    follow, found, place = Unconfirmed(), list[tuple[int, int]](), 0
    for span in answer.spans:
        for text, doubtful in follow.split(span):
            if doubtful and found and found[-1][1] == place and not span.asked:
                found[-1] = (found[-1][0], place + len(text))
            elif doubtful and text:
                found.append((place, place + len(text)))
            place += len(text)
    return found
