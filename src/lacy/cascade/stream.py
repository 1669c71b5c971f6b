"""One of many running texts: its settings, who listens to it, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from lacy.cascade.call import Settled
from lacy.cascade.engine import Engine
from lacy.cascade.policy import Controller
from lacy.cascade.row import Row
from lacy.cascade.scores import Scorer
from lacy.types import Answer, Span


class Grown(NamedTuple):
    """How long a text is: characters, spans, tokens generated."""

    length: int
    spans: int
    spoken: int


@dataclass(eq=False)
class Stream:
    """One text, its settings, and who listens to it.

    The listeners are called by whoever calls ``Running.step``. ``heard`` gets every piece as it is
    said (own words token by token, a source's answer whole, a call without an answer with its
    reason) and returns True for "enough"; ``ended`` gets the whole answer, or what went wrong.
    """

    engine: Engine
    row: Row
    heard: Callable[[Span], bool] = lambda piece: False
    ended: Callable[[Answer | Exception], None] = lambda answer: None
    cancelled: bool = False
    """Set from anywhere: the text ends as it stands at the next step."""
    scorer: Scorer | None = None
    """Measures the tokens, where that is wanted: pieces are then ``ScoredSpan``."""
    failure: Exception | None = field(default=None, init=False)
    """What its own settings came to (a policy that fails): it ends this text alone."""
    controller: Controller = field(init=False)
    own: int = field(default=0, init=False)
    """The SLM's own next token where a call is under way."""
    call: Span = field(default_factory=lambda: Span("", "slm"), init=False)
    """What is known of the call under way."""

    def __post_init__(self) -> None:
        self.controller = self.engine.policy.start()

    @property
    def done(self) -> bool:
        """Whether nothing more is to be said."""
        return self.cancelled or (self.row.done and not (self.scorer and self.scorer.pending))

    def apply(self, token: int, result: Settled | None, context: int) -> None:
        """Write one outcome into the text, and say so."""
        row, before = self.row, self.grown
        self.engine.apply(row, token, result, context)
        tokens = row.spoken - before.spoken
        calls = int(result is not None)
        self.controller.account(calls=calls, asked=tokens * calls, tokens=tokens)
        self.tell(before)
        if self.scorer is not None and row.finished and token in self.engine.end_ids:
            row.ids.append(token)  # scored like the others, although it has no text
            self.scorer.enqueue(Span("", "slm"))

    @property
    def grown(self) -> Grown:
        """How far the text is."""
        return Grown(len(self.row.text), len(self.row.spans), self.row.spoken)

    def tell(self, before: Grown) -> None:
        """Say by what the text has grown, by one outcome."""
        row, (length, spans, spoken) = self.row, before
        piece = Span(row.text[length:], "slm", row.spoken - spoken)
        if len(row.spans) > spans and row.spans[-1].asked:
            piece = row.spans[-1]
        if not (piece.text or piece.asked or piece.tokens):
            return
        if self.scorer is not None:
            self.scorer.enqueue(piece)
        elif self.heard(piece):
            self.cancelled = True

    def release(self, *, all: bool = False) -> None:
        """Say what was held back until it was measured."""
        for piece in self.scorer.pop(all=all) if self.scorer else ():
            if self.heard(piece):
                self.cancelled = True

    def fail(self, failure: Exception) -> None:
        """Let this text end with an error."""
        self.failure, self.cancelled = failure, True

    def finish(self) -> None:
        """Say the end."""
        if self.failure is not None:
            self.ended(self.failure)
            return
        self.release(all=True)
        length = len(self.row.text)
        answer = self.row.answer()
        if len(self.row.text) > length:  # an unfinished character
            self.heard(Span(self.row.text[length:], "slm"))
        self.ended(answer)
