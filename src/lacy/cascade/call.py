"""One call from asking to outcome: ask the source, rank what it offers, decide what is borrowed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lacy.cascade.calibration import KindFit
from lacy.cascade.rank import (
    Abstain,
    TokenizedCandidate,
    best_index,
    min_score,
    nan_as_lowest,
    rank,
    tokenize_candidates,
)
from lacy.cascade.reference import ReferenceLikelihoods
from lacy.cascade.row import Row
from lacy.corpus import TokenText
from lacy.model import Decoder
from lacy.sources import Source, guarded
from lacy.types import Reply, Request, Span, Unit

NOBODY = "no source is connected"
"""The error of a reply where nobody was asked."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How a call ended: an option to borrow, or only the reason (in ``span``) why not."""

    option: TokenizedCandidate | None
    span: Span
    stop: bool = False
    """Whether the row ends here, because the answer does not fit into it any more."""
    offered: tuple[TokenizedCandidate, ...] = ()
    """All that could have been borrowed."""
    scores: tuple[float, ...] | None = None
    """How well each of them fits, where they were ranked."""
    limit: float | None = None
    """The score that the best had to reach."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Asks one source on behalf of rows; the fields are those of ``Engine``."""

    source: Source | None
    token_text: TokenText
    unit: Unit
    abstain: Abstain
    timeout: float | None
    heal: bool
    kinds: Mapping[str, KindFit] | None = None
    reference: ReferenceLikelihoods | None = None

    def settle(
        self,
        decoder: Decoder,
        places: Sequence[int],
        rows: Sequence[Row],
        spans: Sequence[Span],
        loop: asyncio.AbstractEventLoop,
    ) -> list[Settled]:
        """Ask for all calling rows at once and rank together what is to be ranked.

        Args:
            decoder: holds the rows' texts.
            places: the rows' numbers in the decoder.
            rows: the calling rows.
            spans: what is known of each call so far (reason, margin).
            loop: runs the source.
        """
        if not rows:
            return []
        replies = [Reply(error=NOBODY)] * len(rows)
        if self.source is not None:
            asking = guarded(self.source, self.requests(rows), timeout=self.timeout)
            replies = loop.run_until_complete(asking)
        return self.outcomes(decoder, places, rows, spans, replies)

    def requests(self, rows: Sequence[Row]) -> list[Request]:
        """What the source is asked for rows."""
        tokens = self.token_text.name if self.unit == "token" else ""
        return [Request(row.text, self.unit, row.subject, row.stream, tokens) for row in rows]

    def outcomes(
        self,
        decoder: Decoder,
        places: Sequence[int],
        rows: Sequence[Row],
        spans: Sequence[Span],
        replies: Sequence[Reply],
    ) -> list[Settled]:
        """What replies come to; arguments as of ``settle``."""
        groups = [
            tokenize_candidates(
                reply.candidates,
                self.token_text,
                row.ids,
                decoder.context - len(row.ids),
                heal=self.heal,
            )
            for row, reply in zip(rows, replies, strict=True)
        ]
        ranked = [
            n for n, r in enumerate(replies) if groups[n] and (r.ranked or len(groups[n]) > 1)
        ]
        scores = rank(
            decoder, [places[n] for n in ranked], [groups[n] for n in ranked], self.reference
        )
        scores_of = dict(zip(ranked, scores, strict=True))
        outcomes = []
        for n, (row, reply, span) in enumerate(zip(rows, replies, spans, strict=True)):
            span = replace(span, cost=reply.cost, seconds=reply.seconds, fault=reply.fault)
            scored = scores_of.get(n)
            outcome = self._outcome(row, reply, groups[n], scored, span)
            known = None if scored is None else tuple(scored)
            outcomes.append(replace(outcome, offered=tuple(groups[n]), scores=known))
        return outcomes

    def _outcome(
        self,
        row: Row,
        reply: Reply,
        options: list[TokenizedCandidate],
        scores: list[float] | None,
        span: Span,
    ) -> Settled:
        """What one reply comes to."""
        if reply.error or not reply.candidates:
            return _without(span, reply.error or "source had no answer")
        if not options:
            return _without(span, "no room for the answer in the context", stop=True)
        place, note, limit = 0, "", None
        if scores is not None:
            place = best_index(scores)
            limit = min_score(options[place].candidate, self.abstain, self.kinds)
            if nan_as_lowest(scores[place]) < limit:
                why = f"{_none_fits(len(scores))} (best score {scores[place]:.1f} < {limit:.1f})"
                return replace(_without(span, why), limit=limit)
            note = f"; {_fits_best(len(scores))} (score {scores[place]:.1f})"
        option = options[place]
        if scores is not None and self.unit != "value":
            option = self._cut(option, row)
        if row.spoken + len(option.tokens) - option.back > row.limit:
            # Half a value would be a wrong fact.
            return replace(_without(span, "no room for the answer", stop=True), limit=limit)
        assert self.source is not None  # it replied
        span = replace(
            span,
            text=option.candidate.text,
            speaker=reply.speaker or self.source.name,
            reason=span.reason + note,
            evidence=option.candidate.evidence,
        )
        return Settled(option, span, limit=limit)

    def _cut(self, option: TokenizedCandidate, row: Row) -> TokenizedCandidate:
        """The first token or word of a ranked value (a source that speaks in units is not cut)."""
        text = option.candidate.text
        if self.unit == "token":
            stream, piece = self.token_text.stream(), ""
            for token in self.token_text.encode_continuation(text):
                piece += stream.add(token)
                if piece and stream.whole:
                    break
        else:
            words = text.split(maxsplit=1)
            piece = text[: text.index(words[0])] + words[0] if words else text
        candidates = [replace(option.candidate, text=piece)]
        room = len(option.tokens)
        cut = tokenize_candidates(candidates, self.token_text, row.ids, room, heal=self.heal)
        return cut[0] if cut else option


def _fits_best(count: int) -> str:
    """Why this value was taken."""
    return f"of {count} values this one fits best" if count > 1 else "its one value fits"


def _none_fits(count: int) -> str:
    """Why no value was taken."""
    return f"none of {count} values fits" if count > 1 else "its one value does not fit"


def _without(span: Span, why: str, *, stop: bool = False) -> Settled:
    """A call that brought nothing."""
    reason = f"{span.reason}; {why}" if span.reason else why
    return Settled(None, replace(span, reason=reason), stop)
