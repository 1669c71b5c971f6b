"""Log-likelihoods that the SLM assigns to the tokens of a text, whoever wrote them.

The model reads every token, including those of sources, so the logits before a token give its
likelihood without another forward pass. A text is scored only on request. Its spans are then
reported as soon as all their tokens have been scored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from lacy.corpus import TokenText
from lacy.model import without_call
from lacy.types import Span


@dataclass(frozen=True, slots=True)
class TokenScore:
    """The score of one token."""

    text: bytes
    """The token's UTF-8 bytes; they may be a part of a character."""
    logprob: float | None
    """``log p(token | text before it)`` in nats, without ``<CALL>``, at temperature 1. None if
    there is no text before it, or if the text was cancelled before the token was read."""
    top: tuple[tuple[bytes, float], ...] = ()
    """The likeliest tokens at this position and their log-probabilities."""


@dataclass(frozen=True, slots=True)
class ScoredSpan(Span):
    """A span with the scores of its tokens, in their order."""

    scores: tuple[TokenScore, ...] = ()

    def cut(self, length: int) -> ScoredSpan:
        """Return the span cut to ``length`` characters, with the tokens that begin in them."""
        scores, raw = [], b""
        for score in self.scores:
            if len(raw.decode("utf-8", errors="ignore")) >= length:
                break
            scores.append(score)
            raw += score.text
        return replace(self, text=self.text[:length], scores=tuple(scores))


@dataclass(eq=False)
class Scorer:
    """Collects the scores of one text's tokens, and holds back its spans until they are scored.

    Args:
        ids: the list of the text's tokens, which grows; so far, it holds the prompt.
        top: number of likeliest tokens to record at each position.
        prompt: the prompt's span, to score the prompt as well; it is then the first span.
        named: True if the prompt's text contains the names of special tokens.
    """

    ids: Sequence[int]
    top: int = 0
    prompt: Span | None = None
    named: bool = False
    at: int = field(init=False)
    """Number of the text's tokens that have been scored or need no score."""
    _emitted: int = field(init=False)
    """Number of the text's tokens that belong to spans returned by ``pop``."""
    _scores: list[TokenScore] = field(default_factory=list, init=False)
    _queue: deque[tuple[Span, int]] = field(default_factory=deque, init=False)
    """Spans that wait for scores, each with the number of the text's tokens at its end."""

    def __post_init__(self) -> None:
        self.at = self._emitted = len(self.ids)
        if self.prompt is not None:
            self._queue.append((self.prompt, len(self.ids)))
            self.at, self._emitted = 0, 0

    @property
    def pending(self) -> bool:
        """True if some tokens have not been scored."""
        return self.at < len(self.ids)

    def enqueue(self, span: Span) -> None:
        """Add a span that ends at the current end of the text."""
        self._queue.append((span, len(self.ids)))

    def add(self, scores: Sequence[TokenScore]) -> None:
        """Add the scores of the next tokens."""
        self._scores += [replace(score, top=score.top[: self.top]) for score in scores]
        self.at += len(scores)

    def skip(self) -> None:
        """Skip the next token, which has no text (a begin token)."""
        self.at += 1
        self._emitted += 1

    def pop(self, *, all: bool = False) -> list[Span]:
        """Remove and return the spans whose tokens are all scored.

        If ``all``, also return the others; tokens that are not scored have the score None.
        """
        popped: list[Span] = []
        while self._queue and (all or self._queue[0][1] <= self.at):
            span, end = self._queue.popleft()
            count = end - self._emitted
            scores, self._scores = self._scores[:count], self._scores[count:]
            scores += [TokenScore(b"", None)] * (count - len(scores))
            self._emitted = end
            values = {known.name: getattr(span, known.name) for known in fields(Span)}
            popped.append(ScoredSpan(**values, scores=tuple(scores)))
        return popped


def token_scores(
    logits_NV: Tensor, tokens: Sequence[int], top: int, call_id: int | None, token_text: TokenText
) -> list[TokenScore]:
    """Return the scores of tokens from the logits before them.

    Args:
        logits_NV: logits before each token.
        tokens: the N tokens.
        top: number of likeliest tokens to record.
        call_id: the id of ``<CALL>``, which is excluded.
        token_text: gives the bytes of tokens.
    """
    logp_NV = torch.log_softmax(without_call(logits_NV, call_id).float(), dim=-1)
    chosen_N1 = torch.tensor(list(tokens), device=logp_NV.device)[:, None]
    chosen = logp_NV.gather(-1, chosen_N1)[:, 0].tolist()
    best = logp_NV.topk(min(top, logp_NV.shape[-1]), dim=-1) if top else None
    values = best.values.tolist() if best else [[]] * len(chosen)
    ids = best.indices.tolist() if best else [[]] * len(chosen)
    bytes_of = token_text.bytes_of
    return [
        TokenScore(
            bytes_of(token),
            logprob,
            tuple((bytes_of(n), v) for n, v in zip(which, likely, strict=True) if n != call_id),
        )
        for token, logprob, which, likely in zip(tokens, chosen, ids, values, strict=True)
    ]
