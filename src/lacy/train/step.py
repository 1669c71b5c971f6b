"""One step over the whole batch: forward, choice, loss, backward.

The paper ranks the tokens of a mini-batch (§4). Where the batch is one forward pass of one process,
``select_and_loss`` sees it whole. Otherwise there are two ways:

- ``two_pass``: a first pass without gradient gives the losses of all micro-batches (and of all
  processes, by one gather); one choice over all of them; then forward and backward of each. Exact;
  the body runs forward twice. With several processes but one micro-batch the first pass is the only
  one, and just the head is computed twice.
- ``running``: each piece is cut at a running quantile of recent losses; right on average only.

Losses are sums over the pieces divided by the positions of the *whole* batch, so that neither
accumulation nor the number of processes changes the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn

from lacy.model import head_weight, hidden_states, positions
from lacy.objective import (
    IGNORE_INDEX,
    RunningQuantile,
    select,
    select_and_loss,
    shift,
    token_losses,
)
from lacy.objective import loss as objective_loss

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

Way = Literal["exact", "gathered", "two_pass", "running"]
SUMS = ("total", "call", "text", "token", "positions", "delegated", "ignored")
"""What a step reports, each a sum over the batch: the objective, ``-log p(CALL)`` of the delegated
targets, the text loss of the spoken ones, of all of them, and counts."""


@dataclass(slots=True)
class Micro:
    """What one forward pass takes, on the device."""

    ids_BT: Tensor
    positions_BT: Tensor
    targets_BT: Tensor
    marks_BT: Tensor
    """Marks of the targets."""
    reference_BT: Tensor | None = None

    @classmethod
    def of(
        cls, arrays: dict[str, Any], device: torch.device, reference: Any | None = None
    ) -> Micro:
        """From the arrays of ``PackedData.batch``; ``reference`` are stored losses, float."""
        ids_BT, marks_BT, segments_BT = (
            torch.from_numpy(arrays[name]).to(device) for name in ("input_ids", "marks", "segments")
        )
        stored = None if reference is None else torch.from_numpy(reference).to(device).float()
        return cls.of_tensors(ids_BT, marks_BT, segments_BT, stored)

    @classmethod
    def of_tensors(
        cls,
        ids_BT: Tensor,
        marks_BT: Tensor,
        segments_BT: Tensor,
        reference_BT: Tensor | None = None,
    ) -> Micro:
        """From the columns of packed rows."""
        ids_BT = ids_BT.long()
        targets_BT, target_marks_BT = shift(ids_BT, marks_BT, segments_BT)
        return cls(ids_BT, positions(segments_BT), targets_BT, target_marks_BT, reference_BT)

    @property
    def valid_BT(self) -> Tensor:
        """Which positions have a target."""
        return self.targets_BT != IGNORE_INDEX


class Body(nn.Module):
    """The model without its head, as a module: what DDP wraps and ``compile`` compiles."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """hidden_BTD."""
        return hidden_states(self.model, ids_BT, positions_BT=positions_BT)


@dataclass(slots=True)
class GatheredQuantile:
    """A running quantile that sees the losses of every process, in the place of a plain one."""

    quantile: RunningQuantile
    gather: Callable[[Tensor], Tensor]

    def select(self, score_BT: Tensor, among_BT: Tensor, valid_BT: Tensor) -> Tensor:
        """As ``RunningQuantile.select``."""
        return self.quantile.select(score_BT, among_BT, valid_BT, gather=self.gather)


@dataclass(slots=True)
class Stepper:
    """Runs forward and backward of one batch; gradients lie in the parameters afterwards.

    Args:
        model: the language model, for its head.
        body: the callable that gives hidden states; wrapped or compiled where that is wanted.
        way: how the choice covers the batch.
        selector: for ``running``.
        accelerator: for several processes; ``None`` for one.
        bf16: whether the body runs in bfloat16 (weights stay in fp32).
    """

    model: PreTrainedModel
    body: nn.Module
    way: Way
    selector: RunningQuantile | None = None
    accelerator: Accelerator | None = None
    bf16: bool = False

    def __call__(self, micros: Sequence[Micro], objective: dict[str, Any], seed: int) -> Tensor:
        """Forward and backward of the batch; returns its ``SUMS`` (float64, on the device).

        Args:
            micros: the micro-batches of this process.
            objective: keywords of ``select_and_loss``.
            seed: of chance in the choice of this step, the same in every process.
        """
        whole = self._gathered(torch.stack([m.valid_BT.sum() for m in micros]).sum().view(1)).sum()
        delegating = objective["method"] != "none"
        if self.way in ("two_pass", "gathered") and (delegating or objective["ignore"] != "none"):
            sums = self._chosen_together(micros, objective, seed, whole)
        else:
            sums = self._one_by_one(micros, objective, seed, whole)
        return self._gathered(sums.view(1, -1)).sum(0)

    def _one_by_one(
        self, micros: Sequence[Micro], objective: dict[str, Any], seed: int, whole: Tensor
    ) -> Tensor:
        """Each piece chooses for itself: exact for a single one, or by the running quantile."""
        sums = []
        for number, micro in enumerate(micros):
            with self._no_sync(number, len(micros)):
                hidden_BTD, head_VD = self._forward(micro)
                found = select_and_loss(
                    hidden_BTD,
                    head_VD,
                    micro.targets_BT,
                    micro.marks_BT,
                    **objective,
                    reference_loss_BT=micro.reference_BT,
                    generator=_chance(seed, micro.ids_BT.device),
                    selector=self._selector(objective),
                )
                self._backward(found.loss.total, found.loss.positions, whole)
            loss_BT, call_BT, ignore_BT = found.loss_BT, found.call_BT, found.ignore_BT
            sums.append(_sums(found.loss, loss_BT, call_BT, ignore_BT))
        return torch.stack(sums).sum(0)

    def _chosen_together(
        self, micros: Sequence[Micro], objective: dict[str, Any], seed: int, whole: Tensor
    ) -> Tensor:
        """All losses first, one choice over the batch of all processes, then the gradients."""
        kept = None
        losses = []
        for micro in micros:
            if self.way == "gathered":
                kept = self._forward(micro)
                losses.append(token_losses(kept[0].detach(), kept[1].detach(), micro.targets_BT))
            else:
                with torch.no_grad():
                    losses.append(token_losses(*self._forward(micro), micro.targets_BT))
        loss_BT = torch.cat(losses)
        call_BT, ignore_BT = self._choose(micros, loss_BT, objective, seed)
        sums = []
        first = 0
        for number, micro in enumerate(micros):
            mine = slice(first, first + micro.ids_BT.shape[0])
            first = mine.stop
            with self._no_sync(number, len(micros)):
                hidden_BTD, head_VD = kept if kept is not None else self._forward(micro)
                found = objective_loss(
                    hidden_BTD,
                    head_VD,
                    micro.targets_BT,
                    call_BT[mine],
                    call_negative=objective["call_negative"],
                    text_weight=objective["text_weight"],
                    ignore_BT=ignore_BT[mine],
                )
                self._backward(found.total, found.positions, whole)
            sums.append(_sums(found, loss_BT[mine], call_BT[mine], ignore_BT[mine]))
        return torch.stack(sums).sum(0)

    def _choose(
        self, micros: Sequence[Micro], loss_BT: Tensor, objective: dict[str, Any], seed: int
    ) -> tuple[Tensor, Tensor]:
        """One choice over all rows of all processes; returns this process's rows of it."""
        marks_BT = self._gathered(torch.cat([m.marks_BT for m in micros]))
        valid_BT = self._gathered(torch.cat([m.valid_BT for m in micros]))
        every_BT = self._gathered(loss_BT)
        stored = [m.reference_BT for m in micros if m.reference_BT is not None]
        call_BT = select.choose(
            objective["method"],
            every_BT,
            marks_BT,
            objective["call_rate"],
            valid_BT,
            delegate=objective.get("delegate", "token"),
            rank_within=objective.get("rank_within", "batch"),
            reference_loss_BT=self._gathered(torch.cat(stored)) if stored else None,
            generator=_chance(seed, loss_BT.device),
        )
        if objective["ignore"] == "facts":
            ignore_BT = select.ignore_facts(marks_BT, call_BT, valid_BT)
        elif objective["ignore"] == "all":
            rate = objective["ignore_rate"]
            ignore_BT = select.ignore_all(every_BT, marks_BT, call_BT, valid_BT, rate)
        else:
            ignore_BT = torch.zeros_like(call_BT)
        rank = self.accelerator.process_index if self.accelerator is not None else 0
        mine = slice(rank * loss_BT.shape[0], (rank + 1) * loss_BT.shape[0])
        return call_BT[mine], ignore_BT[mine]

    def _forward(self, micro: Micro) -> tuple[Tensor, Tensor]:
        """Hidden states and head in one type: fp32, or bfloat16 where the body runs in it."""
        head_VD = head_weight(self.model)
        if not self.bf16:
            return self.body(micro.ids_BT, micro.positions_BT), head_VD
        with torch.autocast(micro.ids_BT.device.type, dtype=torch.bfloat16):
            hidden_BTD = self.body(micro.ids_BT, micro.positions_BT)
        return hidden_BTD.bfloat16(), head_VD.bfloat16()

    def _backward(self, mean: Tensor, positions: Tensor, whole: Tensor) -> None:
        """From a piece's mean to its share of the whole batch's; DDP averages over processes."""
        processes = 1 if self.accelerator is None else self.accelerator.num_processes
        (mean * (positions.to(mean) * processes / whole.to(mean).clamp_min(1))).backward()

    def _selector(self, objective: dict[str, Any]) -> RunningQuantile | None:
        if self.way != "running" or objective["method"] == "none":
            return None
        if self.accelerator is None or self.selector is None:
            return self.selector
        return cast(RunningQuantile, GatheredQuantile(self.selector, self._gathered))

    def _no_sync(self, number: int, count: int) -> AbstractContextManager[Any]:
        """DDP exchanges gradients at the last micro-batch only."""
        if self.accelerator is None or number == count - 1:
            return nullcontext()
        held: AbstractContextManager[Any] = self.accelerator.no_sync(self.body)
        return held

    def _gathered(self, tensor: Tensor) -> Tensor:
        """A tensor of every process, one after the other along the first dimension."""
        if self.accelerator is None:
            return tensor
        return cast(Tensor, self.accelerator.gather(tensor))


def _chance(seed: int, device: torch.device) -> torch.Generator:
    """Chance that depends on the step alone, so that nothing of it has to be saved."""
    return torch.Generator(device).manual_seed(seed % 2**63)


def _sums(loss: Any, loss_BT: Tensor, call_BT: Tensor, ignore_BT: Tensor) -> Tensor:
    """``SUMS`` of one piece."""
    count = loss.positions.detach().double()
    losses_BT = loss_BT.double()
    spoken_BT = ~(call_BT | ignore_BT)
    parts = (
        loss.total.detach().double() * count,
        loss.call.detach().double() * count,
        (losses_BT * spoken_BT).sum(),
        losses_BT.sum(),
        count,
        loss.delegated.double(),
        loss.ignored.double(),
    )
    return torch.stack(parts)
