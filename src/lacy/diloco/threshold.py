"""One delegation threshold for all workers, without exchanging losses."""

from __future__ import annotations

import torch
from torch import Tensor

from lacy.objective import RunningQuantile


class SharedThreshold(RunningQuantile):
    """A running quantile whose threshold is the mean over all workers.

    Each worker estimates the threshold of its own texts. At an exchange, the server takes the mean,
    weighted by tokens, and workers delegate above it until the next exchange: hard texts delegate
    more than easy ones, as in one large batch. Before the first exchange, a worker uses its own.
    """

    own: float | None = None
    """The last threshold of this worker's own texts; None if nothing was delegated yet."""
    shared: float | None = None
    """The mean of all workers."""

    def select(self, score_BT: Tensor, among_BT: Tensor, valid_BT: Tensor) -> Tensor:
        """Choose targets above the shared threshold, and update this worker's own."""
        call_BT = super().select(score_BT, among_BT, valid_BT)
        if call_BT.any():
            self.own = float(score_BT[call_BT].min())
        if self.shared is None:
            return call_BT
        return (score_BT.detach().float() >= self.shared) & among_BT & valid_BT

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state with both thresholds; NaN stands for None."""
        known = [torch.nan if value is None else value for value in (self.own, self.shared)]
        return {**super().state_dict(), "thresholds": torch.tensor(known, dtype=torch.float64)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state returned by ``state_dict``."""
        super().load_state_dict(state)
        own, shared = state["thresholds"].tolist()
        self.own = None if own != own else own
        self.shared = None if shared != shared else shared
