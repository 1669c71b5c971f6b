"""Which span of an answer a character belongs to: who said it."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

from lacy.types import Answer, Span


class SpanLookup:
    """Looks up the span of a character of ``answer.text``."""

    def __init__(self, answer: Answer) -> None:
        self.spans = [span for span in answer.spans if span.text]
        self.ends = list(accumulate(len(span.text) for span in self.spans))

    def at(self, position: int) -> Span:
        """The span that holds character ``position`` of the whole text (prompt included).

        Raises:
            IndexError: the text has no such character.
        """
        if position < 0:
            raise IndexError(position)
        return self.spans[bisect_right(self.ends, position)]


def is_borrowed(span: Span) -> bool:
    """Whether a source, and neither the prompt nor the SLM, spoke this span."""
    return span.speaker not in ("prompt", "slm")
