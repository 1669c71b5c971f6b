"""Explanations of a text: each step with its signals, its threshold and what a source offered.

``explain`` continues a text with an observer, so its steps are those of ``Engine.generate``;
``read_along`` reads a given text with the same decisions and explains what would have happened at
each token. A ``Watch`` may also observe any other engine (``Engine.observer``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from lacy._text import json_safe
from lacy.cascade.engine import Engine
from lacy.cascade.policy import Decision
from lacy.cascade.rank import best_index, nan_as_lowest
from lacy.cascade.sequence import CallOutcome, TextSequence
from lacy.cascade.signals import read_signal, without_call
from lacy.errors import LacyError
from lacy.types import Answer, Span

LIKELY_WORDS = 5
"""Number of likeliest words kept for each step."""

END_LABEL = "(end)"
"""Text shown for the token that ends a text."""


@dataclass(frozen=True, slots=True)
class LikelyWord:
    """A token that could have come next; ``p`` in the softmax without ``<CALL>``."""

    text: str
    p: float


@dataclass(frozen=True, slots=True)
class Offer:
    """A value that a source offered; ``score`` (nats) if the SLM ranked it."""

    text: str
    kind: str
    evidence: str
    score: float | None
    taken: bool
    why: str
    """Why it was taken, or why not."""


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """One step of a text: what was appended, by whom, and why."""

    start: int
    """The character of the text (prompt included) at which it begins."""
    text: str
    """What was appended: a token's characters, or a source's whole answer."""
    tokens: int
    speaker: str
    """``"slm"``, the name of a source, or ``"text"`` for a token that was given."""
    margin: float | None
    """None for a model without ``<CALL>``."""
    p_call: float | None
    entropy: float
    """Entropy of the next word without ``<CALL>``, in nats."""
    by: str
    """The signal that the policy reads ("" for none)."""
    value: float | None
    """That signal; None if the policy read nothing (it never calls, or no call was possible)."""
    limit: float | None
    """The threshold at this step."""
    called: bool
    own: LikelyWord
    """What the SLM wrote, or would have written, itself."""
    words: tuple[LikelyWord, ...]
    """The likeliest next words, best first."""
    reason: str = ""
    evidence: str = ""
    offers: tuple[Offer, ...] = ()
    """What was offered, best first."""
    needed: float | None = None
    """The score that a candidate had to reach."""
    cost: float = 0.0
    seconds: float = 0.0
    p_text: float | None = None
    """Probability of the given token, if a text was given."""
    mark: str | None = None
    """Why an annotator marks this as a fact; None: it does not, or there is none."""
    p_mark: float | None = None
    """The annotator's probability of a fact here."""

    @property
    def answered(self) -> bool:
        """True if a source's value was taken."""
        return any(offer.taken for offer in self.offers)


def steps_to_json(steps: Sequence[DecodeStep]) -> list[dict[str, Any]]:
    """Return steps as data for JSON; infinite numbers (a threshold never reached) are None."""
    return [json_safe(asdict(step)) for step in steps]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The state of a sequence before a step."""

    start: int
    generated: int
    logits_1V: Tensor
    decision: Decision


class Watch:
    """An observer that records the steps of texts by their number.

    Args:
        engine: the engine that generates the texts.
        words: number of likeliest words to keep.
    """

    def __init__(self, engine: Engine, *, words: int = LIKELY_WORDS) -> None:
        self.steps: dict[int, list[DecodeStep]] = {}
        self._engine, self._words = engine, words
        self._seen: dict[int, _Seen] = {}

    def decided(
        self, sequences: Sequence[TextSequence], logits_RV: Tensor, decisions: Sequence[Decision]
    ) -> None:
        """Keep what is needed to explain a step once it is made."""
        for n, (sequence, made) in enumerate(zip(sequences, decisions, strict=True)):
            self._seen[sequence.number] = _Seen(
                len(sequence.text), sequence.generated, logits_RV[n : n + 1].clone(), made
            )

    def applied(self, sequence: TextSequence, own: int, outcome: CallOutcome | None) -> None:
        """Explain a step."""
        seen = self._seen.pop(sequence.number)
        self.steps.setdefault(sequence.number, []).append(self._step(seen, sequence, own, outcome))

    def _step(
        self, seen: _Seen, sequence: TextSequence, own: int, outcome: CallOutcome | None
    ) -> DecodeStep:
        engine, logits_1V = self._engine, seen.logits_1V
        p_V = torch.softmax(without_call(logits_1V, engine.call_id)[0], dim=-1)
        top = p_V.topk(min(self._words, len(p_V)))
        span = outcome.span if outcome else Span("", "slm")
        sign = -1.0 if engine.policy.signal == "top2" else 1.0
        value, limit = seen.decision.value, seen.decision.limit
        has_call, given = engine.call_id is not None, sequence.forced is not None
        return DecodeStep(
            start=seen.start,
            text=sequence.text[seen.start :],
            tokens=sequence.generated - seen.generated,
            speaker="text" if given else span.speaker,
            margin=self._measured("margin", logits_1V) if has_call else None,
            p_call=self._measured("p_call", logits_1V) if has_call else None,
            entropy=self._measured("entropy", logits_1V),
            by=engine.policy.signal,
            value=None if value is None else sign * value,
            limit=None if limit is None else sign * limit,
            called=seen.decision.call,
            own=self._word(own, p_V),
            words=tuple(self._word(token, p_V) for token in top.indices.tolist()),
            reason=span.reason,
            evidence=span.evidence,
            offers=_offers(outcome) if outcome else (),
            needed=outcome.limit if outcome else None,
            cost=span.cost,
            seconds=span.seconds,
            p_text=float(p_V[sequence.ids[-1]]) if given else None,
        )

    def _measured(self, by: str, logits_1V: Tensor) -> float:
        return float(read_signal(logits_1V, self._engine.call_id, by, self._engine.gate)[0])

    def _word(self, token: int, p_V: Tensor) -> LikelyWord:
        if token in self._engine.end_ids:
            return LikelyWord(END_LABEL, float(p_V[token]))
        return LikelyWord(self._engine.token_text.decode([token]), float(p_V[token]))


def _offers(outcome: CallOutcome) -> tuple[Offer, ...]:
    """Return what was offered at a call, best first, with what became of it."""
    scores = outcome.scores
    first = best_index(scores) if scores else 0
    offers = []
    for n, option in enumerate(outcome.offered):
        taken = outcome.option is not None and n == first
        score = None if scores is None else nan_as_lowest(scores[n])
        candidate = option.candidate
        why = _why(outcome, None if scores is None else nan_as_lowest(scores[first]), score, taken)
        offers.append(Offer(candidate.text, candidate.kind, candidate.evidence, score, taken, why))
    return tuple(sorted(offers, key=lambda offer: -(offer.score or 0.0)))


def _why(outcome: CallOutcome, top: float | None, score: float | None, taken: bool) -> str:
    if score is None or top is None:
        return "the only one" if taken else "left out"
    if taken:
        return "fits best"
    if outcome.limit is not None and score < outcome.limit:
        return f"does not fit (< {outcome.limit:.1f})"
    return "fits less" if outcome.option is not None else "no room"


def explain(
    engine: Engine,
    prompt: str,
    *,
    subject: str | None = None,
    max_new_tokens: int | None = None,
    words: int = LIKELY_WORDS,
) -> tuple[Answer, list[DecodeStep]]:
    """Continue a text as ``Engine.generate`` does, and explain every step.

    Raises:
        LacyError: for the same reasons as ``generate``.
    """
    watched = engine.variant()
    watched.observer = watch = Watch(watched, words=words)
    [answer] = watched.generate([prompt], [subject], max_new_tokens=max_new_tokens)
    return answer, watch.steps.get(0, [])


def read_along(
    engine: Engine, text: str, *, subject: str | None = None, words: int = LIKELY_WORDS
) -> tuple[str, list[DecodeStep]]:
    """Read a given text and explain what the engine would have done at each of its tokens.

    Where it would have called, the source is asked, but the given text follows in any case. Without
    a token that begins texts, the first token is not explained.

    Returns:
        The text as its tokens have it (some tokenizers put a space before it), and the steps.

    Raises:
        LacyError: E111 for a text without tokens to explain, E60 for one longer than the context.
    """
    ids = engine.token_text.encode(text)
    skipped = 1 if engine.begin_id is None else 0
    given, ids = ids[:skipped], ids[skipped:]
    if not ids:
        raise LacyError("E111", text=text)
    watched = engine.variant()
    watched.observer = watch = Watch(watched, words=words)
    sequence = watched.sequence(0, engine.token_text.decode(given), subject, len(ids), given)
    read = len(sequence.ids) + len(ids) - 1
    if read > engine.context:
        raise LacyError("E60", tokens=read, context=engine.context)
    sequence.forced = deque(ids)
    watched.run([sequence])
    return sequence.text, watch.steps[0]
