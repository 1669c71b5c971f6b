"""Numbers of a run: summed on the device step by step, read once per line of the log.

Reading a number waits for the device, so the loop never does it in a step; a window of
``log_every`` steps is added up where it is computed, and read when the next step is under way.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from lacy.train.step import SUMS


class Meter:
    """Adds up the sums of steps and turns windows of them into rows of ``metrics.jsonl``.

    Args:
        log_every: steps per row.
        tokens_per_step: positions per step, for the speed.
        tokens_per_epoch: positions of the data.
        seconds: time spent before a resume.
    """

    def __init__(
        self, log_every: int, tokens_per_step: int, tokens_per_epoch: int, seconds: float = 0.0
    ) -> None:
        self.log_every = log_every
        self.tokens_per_step = tokens_per_step
        self.tokens_per_epoch = tokens_per_epoch
        self._window: Tensor | None = None
        self._steps = 0
        self._closed: tuple[int, float, int, float, Tensor] | None = None
        self._begin = time.perf_counter() - seconds
        self._window_began = time.perf_counter()
        self._timed = 0

    @property
    def seconds(self) -> float:
        """Time spent training, over all starts."""
        return time.perf_counter() - self._begin

    def add(self, step: int, rate: float, sums: Tensor, norm: Tensor) -> None:
        """Take in a step (``step`` counts those done, this one included)."""
        values = torch.cat((sums, norm.detach().double().view(1)))
        self._window = values if self._window is None else self._window + values
        self._steps += 1
        self._timed += 1
        if step % self.log_every == 0:
            self._close(step, rate)

    def finish(self, step: int, rate: float) -> None:
        """Close a window that the end of the run cut short."""
        if self._steps:
            self._close(step, rate)

    def _close(self, step: int, rate: float) -> None:
        assert self._window is not None
        now = time.perf_counter()
        speed = self._timed * self.tokens_per_step / max(1e-9, now - self._window_began)
        self._closed = (step, rate, self._steps, speed, self._window)
        self._window, self._steps, self._timed, self._window_began = None, 0, 0, now

    def row(self) -> dict[str, Any] | None:
        """The last closed window as a row, once; waits for the device."""
        if self._closed is None:
            return None
        step, rate, steps, speed, window = self._closed
        self._closed = None
        sums = dict(zip((*SUMS, "norm"), window.tolist(), strict=True))
        positions = max(1.0, sums["positions"])
        spoken = max(1.0, positions - sums["delegated"] - sums["ignored"])
        tokens = step * self.tokens_per_step
        return {
            "step": step,
            "tokens": tokens,
            "epoch": round(tokens / self.tokens_per_epoch, 4),
            "loss": sums["total"] / positions,
            "text_loss": sums["text"] / spoken,
            "call_loss": sums["call"] / max(1.0, sums["delegated"]),
            "token_loss": sums["token"] / positions,
            "call_rate": sums["delegated"] / positions,
            "ignored": sums["ignored"] / positions,
            "lr": rate,
            "grad_norm": sums["norm"] / steps,
            "tokens_per_second": round(speed, 1),
            "seconds": round(self.seconds, 3),
        }

    def peek(self) -> tuple[float, float]:
        """Loss and gradient norm of the open window, both summed; waits for the device."""
        if self._window is None:
            return 0.0, 0.0
        return float(self._window[SUMS.index("total")]), float(self._window[-1])

    def state(self) -> dict[str, Tensor]:
        """The half-filled window, so that a resumed run writes the same rows."""
        if self._window is None:
            return {}
        return {"window": self._window.cpu(), "steps": torch.tensor(self._steps)}

    def load_state(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Go on with the window of ``state``."""
        if state:
            self._window = state["window"].to(device)
            self._steps = int(state["steps"])
