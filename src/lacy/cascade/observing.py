"""Looking on while texts are generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from lacy.cascade.call import CallOutcome
from lacy.cascade.policy import Decision
from lacy.cascade.sequence import TextSequence


class Observer(Protocol):
    """Is notified of every step of an engine (``Engine.observer``); must change nothing.

    A sequence that waits for its source is reported when it calls (``decided``) and when its answer
    is appended (``applied``); in between, other sequences may continue.
    """

    def decided(
        self, sequences: Sequence[TextSequence], logits_RV: Tensor, decisions: Sequence[Decision]
    ) -> None:
        """Handle the decisions of sequences and the logits (with ``<CALL>``) behind them."""
        ...

    def applied(self, sequence: TextSequence, own: int, outcome: CallOutcome | None) -> None:
        """Handle a sequence that has grown by its own token, or by the outcome of a call."""
        ...
