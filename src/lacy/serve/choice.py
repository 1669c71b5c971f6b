"""One answer as it grows: stop strings, spans, counts, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from lacy._text import json_safe
from lacy.cascade import ScoredSpan
from lacy.types import Answer, Span

PROMPT = "prompt"
"""Speaker of an echoed prompt, which neither contains stop strings nor counts as generated."""

SPAN_FIELDS = [known.name for known in fields(Span)]
"""Fields of a span in responses."""


class StopStrings:
    """Ends a text before the first stop string, and keeps spans while they may be part of one.

    Args:
        stops: non-empty texts; if there are none, all spans pass.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = list(stops)
        self.found = False
        self._kept: list[Span] = []

    def add(self, span: Span) -> list[Span]:
        """Add a span, and return the spans that are final; none after a stop string."""
        if self.found:
            return []
        self._kept.append(span)
        text = "".join(span.text for span in self._kept)
        places = [place for place in map(text.find, self.stops) if place >= 0]
        if places:
            self.found = True
            final, self._kept = _cut(self._kept, min(places)), []
            return final
        overlap = max((_overlap(text, stop) for stop in self.stops), default=0)
        count = end = 0
        for span in self._kept:
            end += len(span.text)
            if end > len(text) - overlap:
                break
            count += 1
        final, self._kept = self._kept[:count], self._kept[count:]
        return final

    def end(self) -> list[Span]:
        """Return the remaining spans at the end of the text."""
        rest, self._kept = self._kept, []
        return rest


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest proper prefix of ``stop`` with which ``text`` ends."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _cut(spans: Sequence[Span], length: int) -> list[Span]:
    """Return the first ``length`` characters; a span that is cut keeps its provenance and cost.

    Calls stay in the account, even if none of their text is left.
    """
    final: list[Span] = []
    for span in spans:
        text = span.text[:length]
        within = length > 0  # also for a span without text: the first bytes of a character
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
    """One answer."""

    stops: StopStrings = field(default_factory=StopStrings)
    spans: list[Span] = field(default_factory=list)
    """Spans so far; the model's text between two calls is one span."""
    scored: list[Span] = field(default_factory=list)
    """All spans as they arrived, if their tokens have scores."""
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
        """Return ``lacy`` beside a whole answer: spans, number of calls, cost and time."""
        asked = [span for span in self.spans if span.asked]
        return {
            "spans": spans_as_dicts(self.spans),
            "calls": len(asked),
            "called_tokens": sum(span.tokens for span in asked),
            "cost": json_safe(float(sum(span.cost for span in asked))),
            "seconds": json_safe(float(sum(span.seconds for span in asked))),
        }

    def _merge(self, spans: list[Span]) -> list[Span]:
        for span in spans:
            if isinstance(span, ScoredSpan):
                self.scored.append(span)
            if not _has_content(span):
                continue
            last = self.spans[-1] if self.spans else None
            if last is None or last.asked or span.asked or last.speaker != span.speaker:
                self.spans.append(span)
            else:
                text, tokens = last.text + span.text, last.tokens + span.tokens
                self.spans[-1] = replace(last, text=text, tokens=tokens)
        return spans


def spans_as_dicts(spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Return the spans that have content, as plain data for JSON."""
    return [
        {name: json_safe(getattr(span, name)) for name in SPAN_FIELDS}
        for span in spans
        if _has_content(span)
    ]


def _has_content(span: Span) -> bool:
    """True if a span has text or stands for a call; the end token has neither."""
    return bool(span.text or span.tokens or span.asked or span.speaker == PROMPT)
