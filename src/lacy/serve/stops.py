"""Stop strings: a text ends before the first of them, wherever it falls and whoever says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lacy.cascade import ScoredSpan
from lacy.types import Span


class Stops:
    """Holds pieces back as long as they might be the beginning of a stop string.

    Args:
        stops: non-empty texts; none lets everything through.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self.stops = list(stops)
        self.stopped = False
        self._held: list[Span] = []

    def add(self, piece: Span) -> list[Span]:
        """Pieces that are certain now. After ``stopped`` there are no more."""
        if self.stopped:
            return []
        self._held.append(piece)
        text = "".join(span.text for span in self._held)
        found = [place for place in map(text.find, self.stops) if place >= 0]
        if found:
            self.stopped = True
            kept, self._held = _cut(self._held, min(found)), []
            return kept
        held = max((_begun(text, stop) for stop in self.stops), default=0)
        return self._release(len(text) - held)

    def end(self) -> list[Span]:
        """What was held back for nothing."""
        rest, self._held = self._held, []
        return rest

    def _release(self, length: int) -> list[Span]:
        """The held pieces that end within the first ``length`` characters."""
        count = end = 0
        for span in self._held:
            end += len(span.text)
            if end > length:
                break
            count += 1
        out, self._held = self._held[:count], self._held[count:]
        return out


def _begun(text: str, stop: str) -> int:
    """Length of the longest beginning of ``stop`` (not all of it) with which ``text`` ends."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def _cut(pieces: Sequence[Span], length: int) -> list[Span]:
    """The first ``length`` characters; a piece that is cut keeps its provenance and its price.

    What was asked for and paid stays in the account, even where none of its words do.
    """
    kept: list[Span] = []
    for piece in pieces:
        text = piece.text[:length]
        within = length > 0  # the beginning of a character, perhaps, which has no text yet
        length -= len(text)
        if not (within or piece.asked):
            continue
        if isinstance(piece, ScoredSpan) and len(text) < len(piece.text):
            kept.append(piece.cut(len(text)))
        else:
            kept.append(replace(piece, text=text))
    return kept
