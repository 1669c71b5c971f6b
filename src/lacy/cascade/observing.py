"""Looking on while texts are written: what the model saw at each step, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from lacy.cascade.call import Settled
from lacy.cascade.policy import Decision
from lacy.cascade.row import Row


class Observer(Protocol):
    """Told of every step of an engine whose ``observer`` it is; must change nothing.

    A text that waits for its source is told of when it calls (``decided``) and when the answer is
    there (``applied``); in between other texts may go on.
    """

    def decided(
        self, rows: Sequence[Row], logits_RV: Tensor, decisions: Sequence[Decision]
    ) -> None:
        """Rows are about to go on; their logits (``<CALL>`` among them) and what was decided."""
        ...

    def applied(self, row: Row, own: int, settled: Settled | None) -> None:
        """A row has gone on by its own token, or (``settled``) by what came of a call."""
        ...
