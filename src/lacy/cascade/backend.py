"""What the decode loop needs from a model, in this process or behind a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from lacy.cascade.policy import SignalBatch
from lacy.cascade.sequence import TextSequence


class NextScores(Protocol):
    """Scores of the next token of several sequences, each named by its place among them."""

    @property
    def logits_RV(self) -> Tensor | None:
        """The logits, ``<CALL>`` among them; None if a server holds the model."""
        ...

    def can_call(self, place: int) -> bool:
        """True unless it is already known that no call is made here."""
        ...

    def own_bytes(self, place: int) -> bytes:
        """Return the bytes of the model's likeliest next token other than ``<CALL>``."""
        ...

    def signals(self, places: Sequence[int]) -> SignalBatch:
        """Return the signals that policies read."""
        ...


class Backend(Protocol):
    """Computes next-token scores for sequences and scores candidates.

    It holds the active sequences. Before a sequence becomes ready, its ``next_token`` is set to the
    model's own next token; a server may leave that to ``find_own_tokens``.
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
        """True if nothing can be done now: there are no sequences, or a server is computing."""
        ...

    def add(self, sequences: Sequence[TextSequence]) -> None:
        """Take new sequences."""
        ...

    def ready(self) -> tuple[list[TextSequence], NextScores]:
        """Return the active sequences whose next-token scores are known, with the scores."""
        ...

    async def find_own_tokens(self, sequences: Sequence[TextSequence]) -> None:
        """Set ``next_token`` where it is not known yet."""
        ...

    async def score(
        self,
        sequences: Sequence[TextSequence],
        candidates: Sequence[Sequence[Sequence[int]]],
        ends: Sequence[int] | None,
    ) -> list[list[float]]:
        """Return log p(candidate, and its end | sequence, no ``<CALL>``) in nats.

        Args:
            sequences: active sequences.
            candidates: the tokens of each sequence's candidates.
            ends: tokens that may follow a whole candidate; None for all but ``<CALL>``.
        """
        ...

    def applied(self, sequence: TextSequence, answered: bool) -> None:
        """Note that a sequence has grown by its own token, or (``answered``) by an answer."""
        ...

    def advance(self) -> None:
        """Remove the sequences that are done and compute the scores of the others."""
        ...

    def park(self, sequences: Sequence[TextSequence]) -> Any:
        """Set active sequences aside; returns what ``unpark`` needs."""
        ...

    def unpark(self, parked: Sequence[Any]) -> None:
        """Make parked sequences active again, without those that have ended meanwhile."""
        ...

    def clear(self) -> list[TextSequence]:
        """Remove and return all sequences."""
        ...

    def wait(self) -> None:
        """Wait until the server has computed all it was asked for."""
        ...

    def close(self) -> None:
        """Release what the backend holds."""
        ...
