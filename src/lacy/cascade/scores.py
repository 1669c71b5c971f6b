"""How likely the SLM itself found each token of a text, whoever spoke it.

Every token passes through the model, a source's as well, and the logits before it say how likely
the model found it: read where they lie, at no further forward pass. A text is measured only where
that is asked for; its pieces are then said as soon as all their tokens have been measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from lacy.cascade.row import Row
from lacy.cascade.signals import without_call
from lacy.corpus import TokenText
from lacy.types import Span


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token of a text."""

    text: bytes
    """Its UTF-8 bytes, perhaps not whole characters."""
    logprob: float | None
    """``log p(token | what stands before it)`` in nats, ``<CALL>`` left out, at temperature 1.
    None: there is nothing before it, or the text was broken off before the token was read."""
    top: tuple[tuple[bytes, float], ...] = ()
    """The likeliest tokens there, whichever was spoken."""


@dataclass(frozen=True, slots=True)
class ScoredSpan(Span):
    """A piece with the scores of its tokens, in their order."""

    scores: tuple[TokenScore, ...] = ()

    def cut(self, length: int) -> ScoredSpan:
        """Its first ``length`` characters and the tokens that begin within them."""
        kept, raw = [], b""
        for score in self.scores:
            if len(raw.decode("utf-8", errors="ignore")) >= length:
                break
            kept.append(score)
            raw += score.text
        return replace(self, text=self.text[:length], scores=tuple(kept))


@dataclass(eq=False)
class Scorer:
    """Scores the tokens of one text, and holds its pieces back until they are scored.

    Args:
        row: the text, before anything is added to it.
        top: number of likeliest tokens to record at each position.
        prompt: score the prompt as well; it is then the first piece.
        named: the prompt's text contains the names of its special tokens.
    """

    row: Row
    top: int = 0
    prompt: bool = False
    named: bool = False
    at: int = field(init=False)
    """Tokens of the row's plan that have been measured, or that need not be."""
    _given: int = field(init=False)
    _scores: list[TokenScore] = field(default_factory=list, init=False)
    _held: deque[tuple[Span, int]] = field(default_factory=deque, init=False)

    def __post_init__(self) -> None:
        self.at = self._given = len(self.row.ids)
        if self.prompt:
            self._held.append((self.row.spans[0], len(self.row.ids)))
            self.at, self._given = 0, 0

    @property
    def owes(self) -> bool:
        """Whether tokens are still to be measured."""
        return self.at < len(self.row.ids)

    def hold(self, piece: Span) -> None:
        """Take a piece that ends where the row's plan ends."""
        self._held.append((piece, len(self.row.ids)))

    def add(self, scores: Sequence[TokenScore]) -> None:
        """Scores of the next tokens of the plan."""
        self._scores += [replace(score, top=score.top[: self.top]) for score in scores]
        self.at += len(scores)

    def skip(self) -> None:
        """Leave the next token out: it stands for no text."""
        self.at += 1
        self._given += 1

    def take(self, *, all: bool = False) -> list[Span]:
        """Pieces that may be said, with their scores; ``all``: also those without some."""
        taken: list[Span] = []
        while self._held and (all or self._held[0][1] <= self.at):
            piece, end = self._held.popleft()
            count = end - self._given
            scores, self._scores = self._scores[:count], self._scores[count:]
            scores += [TokenScore(b"", None)] * (count - len(scores))
            self._given = end
            told = {known.name: getattr(piece, known.name) for known in fields(Span)}
            taken.append(ScoredSpan(**told, scores=tuple(scores)))
        return taken


def scores_of(
    logits_NV: Tensor, tokens: Sequence[int], top: int, call_id: int | None, token_text: TokenText
) -> list[TokenScore]:
    """What logits say of the tokens that follow them.

    Args:
        logits_NV: logits before each token.
        tokens: the N tokens.
        top: how many of the likeliest are noted.
        call_id: the ``<CALL>`` row, which is left out.
        token_text: the tokens' bytes.
    """
    logp_NV = torch.log_softmax(without_call(logits_NV, call_id).float(), dim=-1)
    chosen_N1 = torch.tensor(list(tokens), device=logp_NV.device)[:, None]
    said = logp_NV.gather(-1, chosen_N1)[:, 0].tolist()
    best = logp_NV.topk(min(top, logp_NV.shape[-1]), dim=-1) if top else None
    values = best.values.tolist() if best else [[]] * len(said)
    ids = best.indices.tolist() if best else [[]] * len(said)
    bytes_of = token_text.bytes_of
    return [
        TokenScore(
            bytes_of(token),
            logprob,
            tuple((bytes_of(n), v) for n, v in zip(which, likely, strict=True) if n != call_id),
        )
        for token, logprob, which, likely in zip(tokens, said, ids, values, strict=True)
    ]
