"""Find guesses: text that the model wrote after a call that found nothing.

The model asked for a fact, no source had it, and the model continued alone. Its words up to the end
of the clause are a guess and thus the least reliable part of a text, so pages and terminals mark
them (``page/guesses.js`` applies the same rule in the browser).
"""

from __future__ import annotations

from lacy.cascade.endings import EndOf
from lacy.types import Answer, Span


class GuessTracker:
    """Finds the guesses in one text, span by span; a span may arrive in several parts."""

    def __init__(self) -> None:
        self._clause: EndOf | None = None

    def split(self, span: Span) -> list[tuple[str, bool]]:
        """Split the next span, or the next part of one, into pairs (text, True if a guess)."""
        if span.speaker != "slm":
            self._clause = None
        elif span.asked:
            self._clause = EndOf("clause")
        if self._clause is None:
            return [(span.text, False)]
        place = self._clause.find(span.text)
        if place is None:
            return [(span.text, True)]
        self._clause = None
        parts = [(span.text[:place], True), (span.text[place:], False)]
        return [part for part in parts if part[0]]


def guessed_ranges(answer: Answer) -> list[tuple[int, int]]:
    """Return the ranges [start, end) of the guesses in an answer's text, in characters."""
    tracker, ranges, position = GuessTracker(), list[tuple[int, int]](), 0
    for span in answer.spans:
        for text, guessed in tracker.split(span):
            if guessed and ranges and ranges[-1][1] == position and not span.asked:
                ranges[-1] = (ranges[-1][0], position + len(text))
            elif guessed and text:
                ranges.append((position, position + len(text)))
            position += len(text)
    return ranges
