"""Find the span, and so the speaker, of any character of an answer."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from lacy.types import Answer, Span


class SpanLookup:
    """An index from characters of ``answer.text`` to spans."""

    def __init__(self, answer: Answer) -> None:
        self.spans = [span for span in answer.spans if span.text]
        self.ends = list(accumulate(len(span.text) for span in self.spans))

    def at(self, position: int) -> Span:
        """Return the span that contains a character; positions count from the start of the prompt.

        Raises:
            IndexError: the position is outside the text.
        """
        if position < 0:
            raise IndexError(position)
        return self.spans[bisect_right(self.ends, position)]


def is_borrowed(span: Span) -> bool:
    """True if the span comes from a source, not from the prompt or the SLM."""
    return span.speaker not in ("prompt", "slm")
