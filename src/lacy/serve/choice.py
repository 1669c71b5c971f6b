"""One answer as it grows: stop strings, spans, counts, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from lacy._text import json_safe
from lacy.cascade import ScoredSpan
from lacy.serve.stops import Stops
from lacy.types import Answer, Span

Ended = Literal["stop", "length"]

PROMPT = "prompt"
"""Speaker of what an answer repeats (``echo``): nothing in it stops the answer or counts."""

FIELDS = [known.name for known in fields(Span)]
"""What is told of a span."""


@dataclass
class Choice:
    """What has been said in one answer, whoever said it."""

    stops: Stops = field(default_factory=Stops)
    spans: list[Span] = field(default_factory=list)
    """Own words between two calls are one span."""
    scored: list[Span] = field(default_factory=list)
    """All pieces as they came, where their tokens have scores."""
    finish: Ended | None = None

    def hear(self, piece: Span) -> list[Span]:
        """Take a piece; gives what may be sent now."""
        return self._take([piece] if piece.speaker == PROMPT else self.stops.add(piece))

    def end(self, answer: Answer) -> list[Span]:
        """No more pieces; gives what is still to be sent."""
        self.finish = "stop" if self.stops.stopped or answer.finished else "length"
        return self._take(self.stops.end())

    @property
    def text(self) -> str:
        """The words."""
        return "".join(span.text for span in self.spans)

    @property
    def tokens(self) -> int:
        """Tokens generated and not cut off."""
        return sum(span.tokens for span in self.spans if span.speaker != PROMPT)

    def account(self) -> dict[str, Any]:
        """``lacy`` beside a whole answer: spans, and what they took."""
        asked = [span for span in self.spans if span.asked]
        return {
            "spans": as_dicts(self.spans),
            "calls": len(asked),
            "called_tokens": sum(span.tokens for span in asked),
            "cost": json_safe(float(sum(span.cost for span in asked))),
            "seconds": json_safe(float(sum(span.seconds for span in asked))),
        }

    def _take(self, pieces: list[Span]) -> list[Span]:
        for piece in pieces:
            if isinstance(piece, ScoredSpan):
                self.scored.append(piece)
            if not speaks(piece):
                continue
            last = self.spans[-1] if self.spans else None
            if last is None or last.asked or piece.asked or last.speaker != piece.speaker:
                self.spans.append(piece)
            else:
                self.spans[-1] = replace(
                    last, text=last.text + piece.text, tokens=last.tokens + piece.tokens
                )
        return pieces


def as_dicts(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Spans with content, as plain data for JSON (which has no infinities)."""
    told = [span for span in spans if speaks(span)]
    return [{name: json_safe(getattr(span, name)) for name in FIELDS} for span in told]


def speaks(span: Span) -> bool:
    """Whether a span has text or represents a call; the end token has neither."""
    return bool(span.text or span.tokens or span.asked or span.speaker == PROMPT)
