"""Measure a run: sum up metrics of training steps, and validate.

Reading a number from the device synchronizes with it, so the loop never does that within a step.
Each window of ``log_every`` steps is summed on the device and read while the next step is running.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lacy.model import hidden_states
from lacy.objective import METHODS, choose_targets, token_losses
from lacy.train.batches import SUMS, MicroBatch, StepResult, means_of
from lacy.train.head import frozen_head
from lacy.types import MarkFlag

if TYPE_CHECKING:
    from lacy.train.setup import Session


class Meter:
    """Sums metrics of steps on the device and turns each window into a row of ``metrics.jsonl``.

    Args:
        log_every: steps per row.
        tokens_per_step: positions per step, to compute the speed.
        tokens_per_epoch: positions of all training rows.
        seconds: training time before a resume.
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
        """Total training time, including the time before a resume."""
        return time.perf_counter() - self._begin

    def add(self, result: StepResult) -> None:
        """Add a step to the window."""
        values = torch.cat((result.sums, result.grad_norm.detach().double().view(1)))
        self._window = values if self._window is None else self._window + values
        self._steps += 1
        self._timed += 1
        if result.step % self.log_every == 0:
            self._close(result.step, result.lr)

    def finish(self, step: int, lr: float) -> None:
        """Close the last window, which may have fewer steps."""
        if self._steps:
            self._close(step, lr)

    def _close(self, step: int, lr: float) -> None:
        assert self._window is not None
        now = time.perf_counter()
        speed = self._timed * self.tokens_per_step / max(1e-9, now - self._window_began)
        self._closed = (step, lr, self._steps, speed, self._window)
        self._window, self._steps, self._timed, self._window_began = None, 0, 0, now

    def row(self) -> dict[str, Any] | None:
        """Return the last closed window as a row, only once; synchronizes with the device."""
        if self._closed is None:
            return None
        step, lr, steps, speed, window = self._closed
        self._closed = None
        tokens = step * self.tokens_per_step
        return {
            "step": step,
            "tokens": tokens,
            "epoch": round(tokens / self.tokens_per_epoch, 4),
            **means_of(window[:-1]),
            "lr": lr,
            "grad_norm": float(window[-1]) / steps,
            "tokens_per_second": round(speed, 1),
            "seconds": round(self.seconds, 3),
        }

    def peek(self) -> tuple[float, float]:
        """Return summed loss and gradient norm of the open window; synchronizes with the device."""
        if self._window is None:
            return 0.0, 0.0
        return float(self._window[SUMS.index("total")]), float(self._window[-1])

    def state(self) -> dict[str, Tensor]:
        """Return the open window for a checkpoint, so that a resumed run writes the same rows."""
        if self._window is None:
            return {}
        return {"window": self._window.cpu(), "steps": torch.tensor(self._steps)}

    def load_state(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Restore the window returned by ``state``."""
        if state:
            self._window = state["window"].to(device)
            self._steps = int(state["steps"])


@torch.no_grad()
def validate(session: Session, last_BT: Tensor | None) -> tuple[dict[str, Any], Tensor | None]:
    r"""Measure the model on the validation rows; all processes call this together.

    Args:
        session: the run.
        last_BT: mask of the targets that the last validation would have delegated.

    Returns:
        The metrics, and the mask of this validation for the next call. Metrics are ``valid_loss``,
        ``valid_fact_loss`` and ``valid_other_loss`` in nats per token (``-log p_\CALL``),
        ``general_loss`` (the same on the texts of other kinds, if there are any), and
        ``turnover``: the share of targets to delegate now that the last validation would not have
        delegated.
    """
    general = {}
    if session.general is not None:
        loss_BT, _, valid_BT = _losses(session, *session.valid_micros(general=True))
        general["general_loss"] = _mean(loss_BT, valid_BT)
    if not len(session.valid_rows):
        return general, None
    loss_BT, marks_BT, valid_BT = _losses(session, *session.valid_micros())
    fact_BT = ((marks_BT & int(MarkFlag.FACT)) != 0) & valid_BT
    row = {
        "valid_loss": _mean(loss_BT, valid_BT),
        "valid_fact_loss": _mean(loss_BT, fact_BT),
        "valid_other_loss": _mean(loss_BT, valid_BT & ~fact_BT),
        **general,
    }
    objective = session.config.objective()
    if METHODS[objective.method].by != "loss" or not objective.delegates:
        return row, None
    call_BT, _ = choose_targets(objective, loss_BT, marks_BT, valid_BT)
    if last_BT is not None and last_BT.shape == call_BT.shape:
        moved = (call_BT & ~last_BT.to(call_BT.device)).sum() / call_BT.sum().clamp_min(1)
        row["turnover"] = float(moved)
    return row, call_BT


def _losses(
    session: Session, rows: int, micros: Iterable[MicroBatch]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loss_BT, marks_BT and valid_BT of rows, of which each process has a part.

    Trained models, which are large, use bfloat16 as in training; new ones are measured in fp32.
    """
    model, bf16 = session.state.model, session.state.bf16 and not session.config.new_model
    model.eval()
    losses, marks, valid = [], [], []
    for micro in micros:
        with torch.autocast(session.device.type, dtype=torch.bfloat16, enabled=bf16):
            hidden_BTD = hidden_states(model, micro.ids_BT, positions_BT=micro.positions_BT)
        head_VD = frozen_head(model)
        losses.append(token_losses(hidden_BTD, head_VD.to(hidden_BTD.dtype), micro.targets_BT))
        marks.append(micro.marks_BT)
        valid.append(micro.valid_BT)
    model.train()
    loss_BT, marks_BT, valid_BT = (
        session.processes.gather_rows(torch.cat(part), rows) for part in (losses, marks, valid)
    )
    return loss_BT, marks_BT, valid_BT


def _mean(loss_BT: Tensor, among_BT: Tensor) -> float | None:
    """Return the mean loss of the positions in a mask, or None if the mask is empty."""
    count = int(among_BT.sum())
    return float(loss_BT[among_BT].double().sum() / count) if count else None
