"""One running text of the cascade: its tokens, its exact characters, and who spoke them.

``ids`` is the plan of the row: what the decoder has read plus what it is forced to read next. A
row whose plan is longer than the cache waits; a row whose plan is used up decides what comes next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from lacy.corpus import TextStream
from lacy.types import Answer, Span


@dataclass(slots=True)
class Row:
    """The state of one text. ``text`` is always prompt plus all pieces, character for character."""

    number: int
    stream: int
    subject: str | None
    ids: list[int]
    text: str
    out: TextStream
    limit: int
    generator: torch.Generator | None = None
    implied: int = 0
    """Number of tokens at the beginning of ``ids`` that the engine added (the begin token)."""
    spoken: int = 0
    """Tokens generated so far, whoever spoke them."""
    in_row: int = 0
    """Answered calls directly one after the other at this place."""
    done: bool = False
    finished: bool = False
    spans: list[Span] = field(default_factory=list)
    _own: list[str] = field(default_factory=list)
    _own_tokens: int = 0

    def __post_init__(self) -> None:
        self.done = self.done or self.limit < 1  # a text that is only measured

    def say(self, token: int) -> None:
        """The SLM's own next token."""
        self.ids.append(token)
        piece = self.out.add(token)
        self.text += piece
        self._own.append(piece)
        self._own_tokens += 1
        self.spoken += 1
        self.in_row = 0
        self.done = self.done or self.spoken >= self.limit

    def say_unanswered(self, token: int | None, span: Span) -> None:
        """The SLM's own token after a call without an answer; None: it ended the text instead."""
        self._flush()
        if token is not None:
            self.say(token)
            piece, self._own, self._own_tokens = self._own[-1], [], 0
            span = replace(span, text=piece, tokens=1)
        self.spans.append(replace(span, asked=True, speaker="slm"))

    def borrow(self, tokens: Sequence[int], back: int, span: Span) -> None:
        """A source's words (``span.text``); ``back`` tokens of the plan give way (healing)."""
        self._flush()
        if back:
            del self.ids[-back:]
        self.ids.extend(tokens)
        self.text += span.text
        count = max(1, len(tokens) - back)
        self.spoken += count
        self.in_row += 1
        self.spans.append(replace(span, tokens=count, asked=True))
        self.done = self.spoken >= self.limit

    def end(self, *, finished: bool) -> None:
        """No more tokens: the model ended the text, or there is no room."""
        self.done, self.finished = True, finished

    def answer(self) -> Answer:
        """The whole text as spans, an unfinished character at its end shown as U+FFFD."""
        rest = self.out.finish()
        if rest:
            self.text += rest
            self._own.append(rest)
        self._flush()
        return Answer(tuple(self.spans), self.finished)

    def _flush(self) -> None:
        """Close the run of the SLM's own words."""
        if self._own_tokens or any(self._own):
            self.spans.append(Span("".join(self._own), "slm", self._own_tokens))
        self._own, self._own_tokens = [], 0
