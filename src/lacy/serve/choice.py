"""One answer while it is generated: its spans, stop strings, counts and finish reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from lacy._text import json_safe
from lacy.cascade import ScoredSpan
from lacy.types import Answer, Span

PROMPT = "prompt"
"""Speaker of an echoed prompt, which is not searched for stop strings; its tokens do not count."""

SPAN_FIELDS = [known.name for known in fields(Span)]
"""The fields of a span that responses contain."""


class StopStrings:
    """Ends a text before its first stop string.

    Spans that may be the beginning of a stop string are held back until that is decided.

    Args:
        stops: non-empty stop strings; without any, all spans pass at once.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = list(stops)
        self.found = False
        self._held_back: list[Span] = []

    def add(self, span: Span) -> list[Span]:
        """Add a span, and return all spans that are final now; none after a stop string."""
        if self.found:
            return []
        self._held_back.append(span)
        text = "".join(span.text for span in self._held_back)
        places = [place for place in map(text.find, self.stops) if place >= 0]
        if places:
            self.found = True
            final, self._held_back = _cut(self._held_back, min(places)), []
            return final
        overlap = max((_overlap(text, stop) for stop in self.stops), default=0)
        count = end = 0
        for span in self._held_back:
            end += len(span.text)
            if end > len(text) - overlap:
                break
            count += 1
        final, self._held_back = self._held_back[:count], self._held_back[count:]
        return final

    def end(self) -> list[Span]:
        """Return the remaining spans at the end of the text."""
        rest, self._held_back = self._held_back, []
        return rest


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest proper prefix of ``stop`` with which ``text`` ends."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _cut(spans: Sequence[Span], length: int) -> list[Span]:
    """Return the spans of the first ``length`` characters; a cut span keeps provenance and cost.

    Calls are kept even if none of their text is left, because they were paid for.
    """
    final: list[Span] = []
    for span in spans:
        text = span.text[:length]
        # Also true for a span without text, which has the first bytes of a character.
        within = length > 0
        length -= len(text)
        if not (within or span.asked):
            continue
        if isinstance(span, ScoredSpan) and len(text) < len(span.text):
            final.append(span.cut(len(text)))
        else:
            final.append(replace(span, text=text))
    return final


@dataclass
class Choice:
    """One answer of a request (OpenAI calls it a choice)."""

    stops: StopStrings = field(default_factory=StopStrings)
    spans: list[Span] = field(default_factory=list)
    """The spans so far, with the model's text between two calls merged into one span."""
    scored: list[Span] = field(default_factory=list)
    """All spans with token scores, as they arrived."""
    finish: Literal["stop", "length"] | None = None

    def add(self, span: Span) -> list[Span]:
        """Add a span, and return the spans that may be sent now."""
        return self._merge([span] if span.speaker == PROMPT else self.stops.add(span))

    def end(self, answer: Answer) -> list[Span]:
        """End the answer, and return the remaining spans."""
        self.finish = "stop" if self.stops.found or answer.finished else "length"
        return self._merge(self.stops.end())

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(span.text for span in self.spans)

    @property
    def tokens(self) -> int:
        """Number of generated tokens."""
        return sum(span.tokens for span in self.spans if span.speaker != PROMPT)

    def summary(self) -> dict[str, Any]:
        """Return the field ``lacy`` of a whole answer: spans, calls, cost and time."""
        asked = [span for span in self.spans if span.asked]
        return {
            "spans": spans_as_dicts(self.spans),
            "calls": len(asked),
            "called_tokens": sum(span.tokens for span in asked),
            "cost": json_safe(float(sum(span.cost for span in asked))),
            "seconds": json_safe(float(sum(span.seconds for span in asked))),
        }

    def _merge(self, spans: list[Span]) -> list[Span]:
        """Add spans, joining neighbours of the same origin that are not calls; return them."""
        for span in spans:
            if isinstance(span, ScoredSpan):
                self.scored.append(span)
            if not has_content(span):
                continue
            last = self.spans[-1] if self.spans else None
            if last is None or last.asked or span.asked or _origin(last) != _origin(span):
                self.spans.append(span)
            else:
                text, tokens = last.text + span.text, last.tokens + span.tokens
                self.spans[-1] = replace(last, text=text, tokens=tokens)
        return spans


def _origin(span: Span) -> tuple[str, str]:
    return span.speaker, span.reason


def spans_as_dicts(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Return the spans that have content, as plain data for JSON."""
    return [
        {name: json_safe(getattr(span, name)) for name in SPAN_FIELDS}
        for span in spans
        if has_content(span)
    ]


def has_content(span: Span) -> bool:
    """True if a span has text, tokens or a call; the span of the end token has none of these."""
    return bool(span.text or span.tokens or span.asked or span.speaker == PROMPT)
