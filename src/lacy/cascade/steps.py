"""Explain each step of a text: its signals, its threshold, and the candidates of a call.

``explain`` continues a text with an observer, so its steps are exactly those of
``Engine.generate``. ``read_along`` reads a given text with the same decisions and explains what
would have happened at each token. A ``Watch`` can observe any engine (``Engine.observer``).
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
from lacy.cascade.policy import Decision, nan_as_lowest
from lacy.cascade.pruning import best_index
from lacy.cascade.sequence import CallOutcome, TextSequence
from lacy.cascade.signals import read_signal
from lacy.errors import LacyError
from lacy.model import without_call
from lacy.types import Answer, Span

LIKELY_WORDS = 5
"""Default number of likeliest words to record for each step."""

END_LABEL = "(end)"
"""Text shown for the token that ends a text."""


@dataclass(frozen=True, slots=True)
class LikelyWord:
    """A possible next token; ``p`` is its probability without ``<CALL>``."""

    text: str
    p: float


@dataclass(frozen=True, slots=True)
class Offer:
    """A value that a source offered, with its score (nats) if the SLM ranked it."""

    text: str
    kind: str
    evidence: str
    score: float | None
    taken: bool
    why: str
    """Why the value was taken, or why not."""


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """One step of a text: the text that was appended, its speaker, and the reasons."""

    start: int
    """Position in the text (including the prompt) at which the step begins."""
    text: str
    """The appended text: one token of the model, or a whole answer of a source."""
    tokens: int
    speaker: str
    """``"slm"``, the name of a source, or ``"text"`` for a token that was given."""
    margin: float | None
    """The ``<CALL>`` margin; None for a model without ``<CALL>``."""
    p_call: float | None
    entropy: float
    """Entropy of the next word without ``<CALL>``, in nats."""
    by: str
    """Name of the signal that the policy reads; "" for none."""
    value: float | None
    """Value of that signal; None if it was not read, because no call was possible."""
    limit: float | None
    """The threshold at this step."""
    called: bool
    own: LikelyWord
    """The SLM's own token, whether it was appended or not."""
    words: tuple[LikelyWord, ...]
    """The likeliest next tokens, best first."""
    reason: str = ""
    evidence: str = ""
    offers: tuple[Offer, ...] = ()
    """The candidates of a call, best first."""
    needed: float | None = None
    """The minimum score for a candidate."""
    cost: float = 0.0
    seconds: float = 0.0
    p_text: float | None = None
    """Probability of the given token, if a text was given."""
    mark: str | None = None
    """The annotator's reason for a fact here; None without a fact or an annotator."""
    p_mark: float | None = None
    """The annotator's probability of a fact here."""

    @property
    def answered(self) -> bool:
        """True if a source's value was taken."""
        return any(offer.taken for offer in self.offers)


def steps_to_json(steps: Sequence[DecodeStep]) -> list[dict[str, Any]]:
    """Return steps as data for JSON; infinite numbers (unreachable thresholds) become None."""
    return [json_safe(asdict(step)) for step in steps]


@dataclass(frozen=True, slots=True)
class _StateBefore:
    """The state of a sequence before a step."""

    start: int
    generated: int
    logits_1V: Tensor
    decision: Decision


class Watch:
    """An observer that records the steps of each text; ``steps`` has them by text number.

    Args:
        engine: the engine that generates the texts.
        words: number of likeliest words to record.
    """

    def __init__(self, engine: Engine, *, words: int = LIKELY_WORDS) -> None:
        self.steps: dict[int, list[DecodeStep]] = {}
        self._engine, self._words = engine, words
        self._seen: dict[int, _StateBefore] = {}

    def decided(
        self, sequences: Sequence[TextSequence], logits_RV: Tensor, decisions: Sequence[Decision]
    ) -> None:
        """Record the state before a step, to explain the step when it is done."""
        for n, (sequence, decision) in enumerate(zip(sequences, decisions, strict=True)):
            self._seen[sequence.number] = _StateBefore(
                len(sequence.text), sequence.generated, logits_RV[n : n + 1].clone(), decision
            )

    def applied(self, sequence: TextSequence, own_token: int, outcome: CallOutcome | None) -> None:
        """Record the step that was made."""
        before = self._seen.pop(sequence.number)
        self.steps.setdefault(sequence.number, []).append(
            self._step(before, sequence, own_token, outcome)
        )

    def _step(
        self,
        before: _StateBefore,
        sequence: TextSequence,
        own_token: int,
        outcome: CallOutcome | None,
    ) -> DecodeStep:
        engine, logits_1V = self._engine, before.logits_1V
        p_V = torch.softmax(without_call(logits_1V, engine.call_id)[0], dim=-1)
        top = p_V.topk(min(self._words, len(p_V)))
        span = outcome.span if outcome else Span("", "slm", reason=sequence.own_reason)
        sign = -1.0 if engine.policy.signal == "top2" else 1.0
        value, limit = before.decision.value, before.decision.limit
        has_call, given = engine.reads_call, sequence.forced is not None
        return DecodeStep(
            start=before.start,
            text=sequence.text[before.start :],
            tokens=sequence.generated - before.generated,
            speaker="text" if given else span.speaker,
            margin=self._measured("margin", logits_1V) if has_call else None,
            p_call=self._measured("p_call", logits_1V) if has_call else None,
            entropy=self._measured("entropy", logits_1V),
            by=engine.policy.signal,
            value=None if value is None else sign * value,
            limit=None if limit is None else sign * limit,
            called=before.decision.call,
            own=self._word(own_token, p_V),
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
    """Return the candidates of a call, best first, each with the reason why it was taken or not."""
    scores = outcome.scores
    first = best_index(scores) if scores else 0
    offers = []
    for n, option in enumerate(outcome.offered):
        taken = outcome.option is not None and n == first
        score = _score(scores, n)
        candidate = option.candidate
        why = _why(outcome, _score(scores, first), score, taken)
        offers.append(Offer(candidate.text, candidate.kind, candidate.evidence, score, taken, why))
    return tuple(sorted(offers, key=lambda offer: -(offer.score or 0.0)))


def _score(scores: Sequence[float | None] | None, place: int) -> float | None:
    score = None if scores is None else scores[place]
    return None if score is None else nan_as_lowest(score)


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
    watched_engine = engine.variant()
    watched_engine.observer = watch = Watch(watched_engine, words=words)
    [answer] = watched_engine.generate([prompt], [subject], max_new_tokens=max_new_tokens)
    return answer, watch.steps.get(0, [])


def read_continuations(
    engine: Engine,
    contexts: Sequence[tuple[str, Sequence[int]]],
    continuations: Sequence[Sequence[int]],
) -> list[tuple[str, list[DecodeStep]]]:
    """Read given continuations as ``read_along`` does, several at a time, after known contexts.

    Args:
        engine: the engine; its policy decides afresh for each text where it calls.
        contexts: for each text, what stands before, as the source sees it and as tokens.
        continuations: the tokens to read.

    Returns:
        Context and continuation as one text, and the steps of the continuation.

    Raises:
        LacyError: E60, a text is longer than the context.
    """
    watched_engine = engine.variant()
    watched_engine.observer = watch = Watch(watched_engine, words=1)
    sequences = []
    for number, ((text, ids), tokens) in enumerate(zip(contexts, continuations, strict=True)):
        if not tokens:
            continue
        if len(ids) + len(tokens) - 1 > engine.context:
            raise LacyError("E60", tokens=len(ids) + len(tokens) - 1, context=engine.context)
        sequence = watched_engine.sequence(number, text, None, len(tokens), ids)
        sequence.implied = int(bool(ids) and ids[0] == engine.begin_id)
        sequence.forced = deque(tokens)
        sequences.append(sequence)
    watched_engine.run(sequences)
    texts = {sequence.number: sequence.text for sequence in sequences}
    return [
        (texts.get(number, text), watch.steps.get(number, []))
        for number, (text, _) in enumerate(contexts)
    ]


def read_along(
    engine: Engine, text: str, *, subject: str | None = None, words: int = LIKELY_WORDS
) -> tuple[str, list[DecodeStep]]:
    """Read a given text and explain what the engine would have done at each token.

    Where it would have called, the source is asked, but the given text follows in any case. If the
    tokenizer has no begin token, the first token is not explained.

    Returns:
        The text as decoded from its tokens (some tokenizers add a space in front), and the steps.

    Raises:
        LacyError: E111 for a text without tokens to explain, E60 for one longer than the context.
    """
    ids = engine.token_text.encode(text)
    skipped = 1 if engine.begin_id is None else 0
    given, ids = ids[:skipped], ids[skipped:]
    if not ids:
        raise LacyError("E111", text=text)
    watched_engine = engine.variant()
    watched_engine.observer = watch = Watch(watched_engine, words=words)
    sequence = watched_engine.sequence(0, engine.token_text.decode(given), subject, len(ids), given)
    length = len(sequence.ids) + len(ids) - 1
    if length > engine.context:
        raise LacyError("E60", tokens=length, context=engine.context)
    sequence.forced = deque(ids)
    watched_engine.run([sequence])
    return sequence.text, watch.steps[0]
