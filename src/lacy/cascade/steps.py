"""Why each word: every step of a text with its signals, its threshold and what a source offered.

``explain`` continues a text and looks on (``observing``), so that its steps are those of
``Engine.generate``; ``read_along`` follows a given text and says at each token what would have
happened. A ``Watch`` may also sit on any engine while it writes (``engine.observer``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lacy._text import json_safe
from lacy.cascade.call import Settled
from lacy.cascade.engine import Engine
from lacy.cascade.policy import Controller, Decision
from lacy.cascade.rank import best_index, nan_as_lowest
from lacy.cascade.row import Row
from lacy.cascade.signals import read_signal, without_call
from lacy.errors import LacyError
from lacy.model import Decoder
from lacy.types import Answer, Span

WORDS = 5
"""Next best words that are kept of each step."""

END = "(end)"
"""How the token that ends a text is shown."""


@dataclass(frozen=True, slots=True)
class Word:
    """A token that could have come next; ``p`` in the softmax without ``<CALL>``."""

    text: str
    p: float


@dataclass(frozen=True, slots=True)
class Offer:
    """A value that a source offered; ``score`` (nats) where the SLM ranked it."""

    text: str
    kind: str
    evidence: str
    score: float | None
    taken: bool
    why: str
    """Why it was taken, or why not."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a text: who said what, and what led to it."""

    start: int
    """The character of the text (prompt included) where it begins."""
    text: str
    """What was said: a token's characters, or a source's whole answer."""
    tokens: int
    speaker: str
    """``"slm"``, the name of a source, or ``"text"`` for a token that was given."""
    margin: float | None
    """None for a model without ``<CALL>``."""
    p_call: float | None
    entropy: float
    """Of the words without ``<CALL>``, in nats."""
    by: str
    """The signal that the policy reads ("" for none)."""
    value: float | None
    """That signal; None where the policy did not look (it never calls, or no call is possible)."""
    limit: float | None
    """The threshold that held here."""
    called: bool
    own: Word
    """What the SLM says, or would have said, itself."""
    words: tuple[Word, ...]
    """The likeliest next words, the best first."""
    reason: str = ""
    evidence: str = ""
    offers: tuple[Offer, ...] = ()
    """What was offered, the best first."""
    needed: float | None = None
    """The score that an offer had to reach."""
    cost: float = 0.0
    seconds: float = 0.0
    p_text: float | None = None
    """Probability of the given token, where the text was read along."""
    mark: str | None = None
    """Why an annotator marks this as a fact; None: it does not, or was not asked."""
    p_mark: float | None = None
    """How sure it is that a fact stands here."""

    @property
    def answered(self) -> bool:
        """Whether a source's value was taken."""
        return any(offer.taken for offer in self.offers)


def plain(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as data for JSON; figures without a bound (a threshold that none reaches) are None."""
    return [json_safe(asdict(step)) for step in steps]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a row saw before it went on."""

    start: int
    spoken: int
    spans: int
    logits_1V: Tensor
    decision: Decision


class Watch:
    """An observer that keeps the steps of texts, by their number.

    Args:
        engine: whose texts these are; its signals and its tokens are read.
        words: next best words to keep.
    """

    def __init__(self, engine: Engine, *, words: int = WORDS) -> None:
        self.steps: dict[int, list[Step]] = {}
        self._engine, self._words = engine, words
        self._seen: dict[int, _Seen] = {}

    def decided(
        self, rows: Sequence[Row], logits_RV: Tensor, decisions: Sequence[Decision]
    ) -> None:
        """Keep what is needed to tell of a step, once it is made."""
        for n, (row, made) in enumerate(zip(rows, decisions, strict=True)):
            here = logits_RV[n : n + 1].clone()
            self._seen[row.number] = _Seen(len(row.text), row.spoken, len(row.spans), here, made)

    def applied(self, row: Row, own: int, settled: Settled | None) -> None:
        """Tell of a step."""
        seen = self._seen.pop(row.number)
        self.steps.setdefault(row.number, []).append(self._step(seen, row, own, settled))

    def _step(self, seen: _Seen, row: Row, own: int, settled: Settled | None) -> Step:
        engine, logits_1V = self._engine, seen.logits_1V
        p_V = torch.softmax(without_call(logits_1V, engine.call_id)[0], dim=-1)
        top = p_V.topk(min(self._words, len(p_V)))
        span = settled.span if settled else Span("", "slm")
        sign = -1.0 if engine.policy.signal == "top2" else 1.0
        value, limit = seen.decision.value, seen.decision.limit
        calls = engine.call_id is not None
        return Step(
            start=seen.start,
            text=row.text[seen.start :],
            tokens=row.spoken - seen.spoken,
            speaker=span.speaker,
            margin=self._measured("margin", logits_1V) if calls else None,
            p_call=self._measured("p_call", logits_1V) if calls else None,
            entropy=self._measured("entropy", logits_1V),
            by=engine.policy.signal,
            value=None if value is None else sign * value,
            limit=None if limit is None else sign * limit,
            called=seen.decision.call,
            own=self._word(own, p_V),
            words=tuple(self._word(token, p_V) for token in top.indices.tolist()),
            reason=span.reason,
            evidence=span.evidence,
            offers=_offers(settled) if settled else (),
            needed=settled.limit if settled else None,
            cost=span.cost,
            seconds=span.seconds,
        )

    def _measured(self, by: str, logits_1V: Tensor) -> float:
        return float(read_signal(logits_1V, self._engine.call_id, by, self._engine.gate)[0])

    def _word(self, token: int, p_V: Tensor) -> Word:
        if token in self._engine.end_ids:
            return Word(END, float(p_V[token]))
        return Word(self._engine.token_text.decode([token]), float(p_V[token]))


def _offers(settled: Settled) -> tuple[Offer, ...]:
    """What was offered at a call, the best first, with what became of it."""
    scores = settled.scores
    first = best_index(scores) if scores else 0
    offers = []
    for n, option in enumerate(settled.offered):
        taken = settled.option is not None and n == first
        score = None if scores is None else nan_as_lowest(scores[n])
        candidate = option.candidate
        why = _why(settled, None if scores is None else nan_as_lowest(scores[first]), score, taken)
        offers.append(Offer(candidate.text, candidate.kind, candidate.evidence, score, taken, why))
    return tuple(sorted(offers, key=lambda offer: -(offer.score or 0.0)))


def _why(settled: Settled, top: float | None, score: float | None, taken: bool) -> str:
    if score is None or top is None:
        return "the only one" if taken else "left out"
    if taken:
        return "fits best"
    if settled.limit is not None and score < settled.limit:
        return f"does not fit (< {settled.limit:.1f})"
    return "fits less" if settled.option is not None else "no room"


def explain(
    engine: Engine,
    prompt: str,
    *,
    subject: str | None = None,
    max_new_tokens: int | None = None,
    words: int = WORDS,
) -> tuple[Answer, list[Step]]:
    """Continue a text as ``Engine.generate`` does, and tell of every step.

    Raises:
        LacyError: as ``generate`` does.
    """
    watched = engine.variant()
    watched.observer = watch = Watch(watched, words=words)
    [answer] = watched.generate([prompt], [subject], max_new_tokens=max_new_tokens)
    return answer, watch.steps.get(0, [])


def read_along(
    engine: Engine, text: str, *, subject: str | None = None, words: int = WORDS
) -> tuple[str, list[Step]]:
    """Read a given text and tell at each of its tokens what the engine would have done there.

    Where it would have called, the source is asked, but the text goes on as it stands. A tokenizer
    without a token that begins a text leaves the first token unexplained.

    Returns:
        The text as its tokens have it (some tokenizers put a space before it), and the steps.

    Raises:
        LacyError: E111 for a text without tokens to explain, E60 for one beyond the context.
    """
    ids = engine.token_text.encode(text)
    begun = engine.begin_id is not None
    given, ids = ([], ids) if begun else (ids[:1], ids[1:])
    if not ids:
        raise LacyError("E111", text=text)
    row = engine.row(0, engine.token_text.decode(given), subject, len(ids), given)
    watch = Watch(engine, words=words)
    decoder = Decoder(engine.model, call_id=engine.call_id)
    controller = engine.policy.start()
    with asyncio.Runner() as runner:
        for token in ids:
            _read(engine, decoder, row, token, watch, controller, runner.get_loop())
    return row.text, watch.steps[0]


def _read(
    engine: Engine,
    decoder: Decoder,
    row: Row,
    token: int,
    watch: Watch,
    controller: Controller,
    loop: asyncio.AbstractEventLoop,
) -> None:
    """One token of a given text."""
    logits_1V = decoder.feed([row.ids[decoder.length :]])
    decisions, margins = engine.choose([row], logits_1V, controller)
    watch.decided([row], logits_1V, decisions)
    settled = None
    if decisions[0].call:
        span = Span("", "slm", reason=decisions[0].reason, margin=margins[0])
        [settled] = engine.caller.settle(decoder, [0], [row], [span], loop)
    own_1V = without_call(logits_1V, engine.call_id)
    row.say(token)
    watch.applied(row, int(own_1V[0].argmax()), settled)
    controller.account(calls=int(settled is not None), asked=int(settled is not None), tokens=1)
    p_text = float(torch.softmax(own_1V[0], dim=-1)[token])
    steps = watch.steps[row.number]
    steps[-1] = replace(steps[-1], speaker="text", p_text=p_text)
