"""The interface between the decode loop and a model, in this process or behind a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from lacy.cascade.policy import SignalBatch
from lacy.cascade.sequence import TextSequence


class NextScores(Protocol):
    """Next-token scores of several sequences; ``row`` is the index of a sequence."""

    @property
    def logits_RV(self) -> Tensor | None:
        """The logits, including ``<CALL>``; None if the model runs behind a server."""
        ...

    def can_call(self, row: int) -> bool:
        """True unless it is already known that the sequence does not call at this token."""
        ...

    def own_bytes(self, row: int) -> bytes:
        """Return the bytes of the model's likeliest next token other than ``<CALL>``."""
        ...

    def signals(self, rows: Sequence[int]) -> SignalBatch:
        """Return the signals of some sequences, for policies."""
        ...


class Backend(Protocol):
    """Computes next-token scores for sequences, and likelihoods of candidates.

    A backend keeps the active sequences. When a sequence becomes ready, its ``next_token`` is the
    model's own next token; a backend for a server may leave that to ``find_own_tokens``.
    """

    @property
    def context(self) -> int:
        """Maximum length of a sequence in tokens."""
        ...

    def __len__(self) -> int:
        """Return the number of sequences that are neither done nor parked."""
        ...

    @property
    def idle(self) -> bool:
        """True if a step could do nothing: there are no sequences, or all wait for a server."""
        ...

    def add(self, sequences: Sequence[TextSequence]) -> None:
        """Add new sequences."""
        ...

    def ready(self) -> tuple[list[TextSequence], NextScores]:
        """Return the active sequences whose next-token scores are known, with the scores."""
        ...

    async def find_own_tokens(self, sequences: Sequence[TextSequence]) -> None:
        """Set the ``next_token`` of sequences for which it is not known yet."""
        ...

    def first_logps(
        self, sequences: Sequence[TextSequence], candidates: Sequence[Sequence[Sequence[int]]]
    ) -> list[list[float]] | None:
        """Return the log-probability of each candidate's first token, an upper bound of its score.

        None if it is not known without a request to a server.
        """
        ...

    async def score(
        self,
        sequences: Sequence[TextSequence],
        candidates: Sequence[Sequence[Sequence[int]]],
        ends: Sequence[int] | None,
    ) -> list[list[float]]:
        """Return the log-likelihood (nats, without ``<CALL>``) of each candidate and its end.

        Args:
            sequences: active sequences.
            candidates: for each sequence, the tokens of its candidates.
            ends: tokens that count as the end of a candidate; None for all but ``<CALL>``.
        """
        ...

    async def score_texts(
        self, texts: Sequence[str], continuations: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Return the log-likelihood (nats, without ``<CALL>``) of continuations of other texts.

        Args:
            texts: any texts; they have nothing to do with the active sequences.
            continuations: for each text, its possible continuations.
        """
        ...

    def applied(self, sequence: TextSequence, answered: bool) -> None:
        """Handle that a sequence has grown: by an answer if ``answered``, else by its own token."""
        ...

    def advance(self) -> None:
        """Remove sequences that are done, and compute the next scores of the others."""
        ...

    def park(self, sequences: Sequence[TextSequence]) -> Any:
        """Set active sequences aside, and return a handle for ``unpark``."""
        ...

    def unpark(self, parked: Sequence[Any]) -> None:
        """Make parked sequences active again, except those that have ended meanwhile."""
        ...

    def clear(self) -> list[TextSequence]:
        """Remove and return all sequences."""
        ...

    def wait(self) -> None:
        """Wait until the server has answered all requests."""
        ...

    def close(self) -> None:
        """Release all resources."""
        ...
