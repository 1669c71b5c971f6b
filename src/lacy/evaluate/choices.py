"""Measure the choices among a source's values, and a text's loss with calls, on true texts.

A model with a source is a probability distribution over texts as well. Where it calls, the choice
gives every offered value a probability, and another one to "no value is right"
(``cascade.choice``). Along a true text, the loss with calls is therefore

    - log p(choice) of the value that follows, which covers all its tokens;
    - log p(no value) - log p(token) after a call of which no value follows;
    - log p(token) elsewhere.

It counts what a wrong or an unsure choice costs, which the loss without calls does not know. The
place of a call costs nothing, because the policy decides it from the text so far.

The *augmented* loss also counts the places: -log p(CALL) at each call and -log(1 - p(CALL)) at all
other tokens, as the model's own ``<CALL>`` has these probabilities. Its exponential is KARLA's
``PPL_aug`` (arXiv 2606.26807), a perplexity that counts the tokens of queries; here a query is the
``<CALL>`` token and the choice. Both are divided by the number of the text's own tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lacy.results import Score, ratio
from lacy.types import Document

if TYPE_CHECKING:
    from lacy.cascade import DecodeStep, Engine

TINY = 1e-12
"""Lowest probability of "no value is right", so that rounding does not make the loss infinite."""


@dataclass(frozen=True, slots=True)
class ChoiceMade:
    """One call along a true text, and what followed."""

    logps: tuple[float, ...]
    """Log-probability of each offered value, best first (nats)."""
    right: int | None
    """Index of the value that follows; None if none does."""

    @property
    def none(self) -> float:
        """Log-probability that no value is right."""
        return math.log(max(TINY, 1 - sum(map(math.exp, self.logps))))

    @property
    def loss(self) -> float:
        """Loss of the choice (nats)."""
        return -(self.none if self.right is None else self.logps[self.right])


@dataclass(frozen=True, slots=True)
class TextWithCalls:
    """The losses of one true text, and its calls."""

    tokens: int
    loss: float
    """Loss without a source (nats, all tokens)."""
    loss_with_calls: float
    choices: tuple[ChoiceMade, ...]
    calls: int
    """Number of calls, including those that the source could not answer."""
    places: float = 0.0
    """Loss of the places of calls (nats); 0 for a model that was not taught to call."""


@dataclass(frozen=True, slots=True)
class ChoicesResult:
    """Losses per token and choices of all texts; intervals are over texts."""

    loss: Score
    loss_with_calls: Score
    """Both in nats per token; ``exp`` of it is the perplexity."""
    right: Score
    """Share of calls before an offered value at which this value has the highest probability."""
    offered: Score
    """Share of calls at which an offered value follows."""
    calls: Score
    """Calls per token."""
    augmented: Score
    """Loss with calls and their places, in nats per token."""
    texts: tuple[TextWithCalls, ...]


def choices_along(
    engine: Engine,
    documents: Sequence[Document],
    subjects: Sequence[str | None] | None = None,
    *,
    start: Sequence[int] | None = None,
    seed: int = 0,
) -> ChoicesResult:
    """Read true texts with an engine whose model reads what its source says.

    Args:
        engine: the engine; its policy decides where it calls.
        documents: the texts; none may exceed the model's context (``cascade.truncate_document``).
        subjects: the subject of each text as the source knows it.
        start: the character of each text from which on calls and losses count; by default 0.
        seed: seed of the bootstrap.

    Raises:
        ValueError: the engine's model does not read, so its choices have no probabilities.
    """
    subjects = subjects if subjects is not None else [None] * len(documents)
    starts = start if start is not None else [0] * len(documents)
    texts = [
        choices_in(engine, document, subject, begin)
        for document, subject, begin in zip(documents, subjects, starts, strict=True)
    ]
    return summarize_choices(texts, seed=seed)


def choices_in(
    engine: Engine, document: Document, subject: str | None = None, start: int = 0
) -> TextWithCalls:
    """Read one text as ``choices_along`` does.

    Raises:
        ValueError: the engine's model does not read, so its choices have no probabilities.
    """
    from lacy.cascade import read_along

    if engine.reader is None:
        raise ValueError("choices have probabilities only if the model reads (Engine(read=))")
    text, steps = read_along(engine, document.text, subject=subject, words=1)
    return with_calls(text, [step for step in steps if step.start >= start])


def with_calls(text: str, steps: Sequence[DecodeStep]) -> TextWithCalls:
    """Return the losses of a text from the steps of ``read_along``.

    Calls inside a value that a source has given are left out, because they would not be made.
    """
    loss = total = places = 0.0
    given = calls = 0
    choices = []
    for step in steps:
        own = -math.log(max(TINY, step.p_text or 0.0))
        loss += own
        if step.start < given:
            continue
        total += own
        calls += step.called
        if step.p_call is not None:
            p_call = min(max(step.p_call, TINY), 1 - TINY)
            places -= math.log(p_call) if step.called else math.log1p(-p_call)
        if step.called and (choice := _choice(text, step)) is not None:
            choices.append(choice)
            total += choice.loss
            if choice.right is not None:
                given = step.start + len(step.offers[choice.right].text)
                total -= own
    return TextWithCalls(len(steps), loss, total, tuple(choices), calls, places)


def _choice(text: str, step: DecodeStep) -> ChoiceMade | None:
    """Return the choice at a call; None if the source had no value to choose from."""
    logps = tuple(offer.score for offer in step.offers if offer.score is not None)
    if not logps or len(logps) < len(step.offers):
        return None
    following = [n for n, offer in enumerate(step.offers) if _follows(text, step.start, offer.text)]
    longest = max(following, key=lambda n: len(step.offers[n].text), default=None)
    return ChoiceMade(logps, longest)


def _follows(text: str, start: int, value: str) -> bool:
    """Return whether a text continues with a value, as whole words."""
    after = text[start + len(value) :][:1]
    return text.startswith(value, start) and not (value[-1:].isalnum() and after.isalnum())


def summarize_choices(texts: Sequence[TextWithCalls], *, seed: int = 0) -> ChoicesResult:
    """Return losses per token and shares of calls, with intervals over texts."""
    tokens = [float(text.tokens) for text in texts]
    calls = [float(text.calls) for text in texts]
    offered = [float(sum(c.right is not None for c in text.choices)) for text in texts]
    right = [float(sum(c.right == 0 for c in text.choices)) for text in texts]
    return ChoicesResult(
        ratio([text.loss for text in texts], tokens, seed=seed, unit="nats"),
        ratio([text.loss_with_calls for text in texts], tokens, seed=seed, unit="nats"),
        ratio(right, offered, seed=seed),
        ratio(offered, calls, seed=seed),
        ratio(calls, tokens, seed=seed),
        ratio(
            [text.loss_with_calls + text.places for text in texts], tokens, seed=seed, unit="nats"
        ),
        tuple(texts),
    )
