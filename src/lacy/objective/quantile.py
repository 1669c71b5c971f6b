"""Choose targets by a running threshold, for batches that are split into micro-batches.

The paper delegates the top losses *of a mini-batch* (§4). Gradient accumulation and several
processes split the mini-batch; ranking each micro-batch separately would give hard and easy ones
the same call rate. ``RunningQuantile`` remembers the losses of recent marked tokens and delegates
tokens above the quantile that yields the desired rate. It compensates earlier surplus or deficit,
so the rate holds on average. Exact counts over a whole batch need a second pass instead:
``token_losses`` of all micro-batches, one ``choose_targets``, then ``loss`` of each.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lacy._require import require_at_least, require_share

WINDOW = 16_384
"""Number of marked tokens to remember; they span 65 thousand tokens if a quarter is marked."""
REPAY = 0.25
"""Share of the deficit that the next batch compensates; larger values oscillate."""


class RunningQuantile:
    """Delegates the marked tokens above a running quantile of their losses.

    The choice depends on the losses seen so far; checkpoints contain ``state_dict``, so a resumed
    run chooses the same tokens.

    Args:
        call_rate: average share of valid positions to delegate.
        window: number of marked tokens to remember.
        gather: with several processes, concatenates a tensor of every process along the first
            dimension (``accelerator.gather``), so that all have the same threshold.

    Raises:
        LacyError: E12, the rate is outside 0 to 1, or the window is empty.
    """

    def __init__(
        self,
        call_rate: float,
        window: int = WINDOW,
        gather: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        require_share("call_rate", call_rate)
        self.call_rate = call_rate
        self.window = require_at_least("window", window, 1)
        self.gather = gather
        self._scores = torch.zeros(0, dtype=torch.float32)
        self._marked = 0.0
        self._valid = 0.0
        self._owed = 0.0

    def select(self, score_BT: Tensor, among_BT: Tensor, valid_BT: Tensor) -> Tensor:
        """Choose targets in one micro-batch and remember its scores; synchronizes with the device.

        Args:
            score_BT: scores to rank by (losses), highest first.
            among_BT: bool mask of tokens that may be delegated.
            valid_BT: bool mask of positions with a target.

        Returns:
            call_BT, a bool mask.
        """
        pooled_BT3 = torch.stack(
            (score_BT.detach().float(), (among_BT & valid_BT).float(), valid_BT.float()), dim=-1
        )
        if self.gather is not None:
            pooled_BT3 = self.gather(pooled_BT3)
        score_N, among_N, valid_N = pooled_BT3.reshape(-1, 3).cpu().unbind(-1)
        threshold = self._observe(score_N[among_N > 0], int(valid_N.sum()))
        called = int(((score_N >= threshold) & (among_N > 0)).sum())
        self._account(called, int(valid_N.sum()))
        return (score_BT.detach().float() >= threshold) & among_BT & valid_BT

    def _observe(self, marked_N: Tensor, valid: int) -> float:
        """Add new scores to the window and return the threshold."""
        marked = marked_N.numel()
        keep = max(0.0, 1.0 - marked / self.window)
        self._marked = keep * self._marked + marked
        self._valid = keep * self._valid + valid
        self._scores = torch.cat((self._scores, marked_N))[-self.window :].clone()
        if not self._marked or not self._scores.numel():
            return torch.inf
        # Share of marked tokens to delegate: call rate plus part of the deficit (both per
        # position), times positions per marked token.
        repay = REPAY * self._owed / max(valid, 1)
        share = (self.call_rate + repay) * self._valid / self._marked
        count = round(min(max(share, 0.0), 1.0) * self._scores.numel())
        if count == 0:
            return torch.inf
        return float(torch.topk(self._scores, count).values[-1])

    def _account(self, called: int, valid: int) -> None:
        """Update the deficit; it is bounded, because with too few marks it would grow forever."""
        limit = self.call_rate * max(self._valid, 1.0)
        owed = self._owed + self.call_rate * valid - called
        self._owed = min(max(owed, -limit), limit)

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that the next choice depends on as tensors for safetensors."""
        return {
            "scores": self._scores.clone(),
            "recent": torch.tensor([self._marked, self._valid, self._owed], dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state returned by ``state_dict``."""
        self._scores = state["scores"].to("cpu", torch.float32).clone()
        self._marked, self._valid, self._owed = state["recent"].tolist()
