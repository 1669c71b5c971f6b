"""Define what passes between batches and training steps: micro-batches, results, further losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from lacy.model import positions
from lacy.objective import IGNORE_INDEX, shift

SUMS = ("total", "call", "text", "token", "positions", "delegated", "ignored")
"""Sums over a batch that each step returns: the objective; ``-log p(CALL)`` at delegated targets;
the text loss of targets neither delegated nor ignored, and of all targets; and three counts."""


@dataclass(slots=True)
class MicroBatch:
    """The rows of one forward pass as tensors on the device."""

    ids_BT: Tensor
    positions_BT: Tensor
    targets_BT: Tensor
    marks_BT: Tensor
    """Marks of the targets."""
    reference_BT: Tensor | None = None
    rows_B: Sequence[int] | None = None
    """Numbers of the rows in the training data, if the batch comes from them."""

    @classmethod
    def of(
        cls,
        columns: Mapping[str, Any],
        device: torch.device,
        reference: Any | None = None,
        rows: Sequence[int] | None = None,
    ) -> MicroBatch:
        """Make a micro-batch with targets from packed rows.

        Args:
            columns: ``input_ids`` and optionally ``marks`` and ``segments``, as arrays or tensors
                of shape (B, T), e.g. ``PackedData.batch(rows)``.
            device: the device of the tensors.
            reference: stored losses of a reference model, if the method needs them.
            rows: numbers of the rows in the training data.
        """
        ids_BT = torch.as_tensor(columns["input_ids"]).to(device).long()
        marks_BT = torch.as_tensor(columns.get("marks", torch.zeros_like(ids_BT))).to(device)
        segments_BT = torch.as_tensor(columns.get("segments", torch.ones_like(ids_BT))).to(device)
        targets_BT, target_marks_BT = shift(ids_BT, marks_BT, segments_BT)
        reference_BT = None
        if reference is not None:
            reference_BT = torch.as_tensor(reference).to(device).float()
        return cls(ids_BT, positions(segments_BT), targets_BT, target_marks_BT, reference_BT, rows)

    def without_targets(self, rows: int) -> MicroBatch:
        """Return a micro-batch whose last ``rows`` rows have no targets."""
        targets_BT, marks_BT = self.targets_BT.clone(), self.marks_BT.clone()
        targets_BT[-rows:], marks_BT[-rows:] = IGNORE_INDEX, 0
        return replace(self, targets_BT=targets_BT, marks_BT=marks_BT)

    @property
    def valid_BT(self) -> Tensor:
        """Mask of positions with a target."""
        return self.targets_BT != IGNORE_INDEX


Batch = MicroBatch | Mapping[str, Any] | Sequence[MicroBatch | Mapping[str, Any]]
"""One micro-batch or several, as ``MicroBatch`` or as its columns."""


class ExtraLoss(Protocol):
    """A loss beside the objective, such as that of distillation."""

    @property
    def text_scale(self) -> float:
        """Factor of the objective's text loss, 1 to keep it, 0 to replace it."""
        ...

    def __call__(
        self,
        micro: MicroBatch,
        hidden_BTD: Tensor,
        head_VD: Tensor,
        call_BT: Tensor,
        ignore_BT: Tensor,
    ) -> Tensor:
        """Return the loss of a micro-batch: a sum over targets divided by their number.

        Args:
            micro: the rows.
            hidden_BTD: inputs of the head, in the dtype of the forward pass, with gradient.
            head_VD: the head, in the same dtype.
            call_BT: mask of the targets that the objective delegates.
            ignore_BT: mask of the targets to which the objective gives no gradient.
        """
        ...


@dataclass(frozen=True, slots=True)
class StepResult:
    """Result of one training step; reading a number synchronizes with the device."""

    step: int
    """Number of steps done, including this one."""
    lr: float
    sums: Tensor
    """``SUMS`` of the batch (float64)."""
    grad_norm: Tensor
    """Norm of the gradient before clipping."""

    @property
    def loss(self) -> float:
        """The objective as a mean over all targets."""
        return self.means["loss"]

    @property
    def call_rate(self) -> float:
        """Share of targets that became ``<CALL>``."""
        return self.means["call_rate"]

    @property
    def means(self) -> dict[str, float]:
        """Return losses and rates of the batch, named as in ``metrics.jsonl``."""
        return means_of(self.sums)


def means_of(sums: Tensor) -> dict[str, float]:
    """Compute losses and rates from ``SUMS`` of one or several steps; synchronizes."""
    by_name = dict(zip(SUMS, sums.tolist(), strict=True))
    count = max(1.0, by_name["positions"])
    text = max(1.0, count - by_name["delegated"] - by_name["ignored"])
    return {
        "loss": by_name["total"] / count,
        "text_loss": by_name["text"] / text,
        "call_loss": by_name["call"] / max(1.0, by_name["delegated"]),
        "token_loss": by_name["token"] / count,
        "call_rate": by_name["delegated"] / count,
        "ignored": by_name["ignored"] / count,
    }
