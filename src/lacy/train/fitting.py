"""Train without files: ``fit`` trains a model on any batches, starting from any state.

    state = FitState.start(model, lr=3e-3)
    for done in fit(state, batches, Objective(call_rate=0.15)):
        print(done.step, done.loss)

``train`` adds a folder, resuming, a console and trackers. A batch is one micro-batch or a list of
them. The paper ranks the tokens of a whole mini-batch (§4), which is done in one of three ways:

- One micro-batch: ``select_and_loss`` sees the whole batch. Several processes exchange the losses
  of its rows and make the same choice.
- Several micro-batches: a first pass without gradient computes the losses of all micro-batches;
  then one choice is made over the whole batch, and each micro-batch runs forward and backward. This
  is exact, but the body runs forward twice.
- With a running quantile, each micro-batch delegates above a threshold from recent losses. This
  costs nothing, and the call rate holds on average.

With several processes, each computes a part of the rows of every micro-batch. Losses are sums over
rows divided by the positions of the *whole* batch, so neither gradient accumulation nor the number
of processes changes the gradient.

An ``ExtraLoss`` adds a loss to the objective, or replaces a part of its text loss (distillation).
It gets the hidden states and the choice of each micro-batch, so the body runs only once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lacy.model import hidden_states
from lacy.objective import (
    Loss,
    Objective,
    RunningQuantile,
    choose_targets,
    select_and_loss,
    token_losses,
)
from lacy.objective import loss as objective_loss
from lacy.train.batches import Batch, ExtraLoss, MicroBatch, StepResult
from lacy.train.head import frozen_head, trained_row
from lacy.train.optim import make_optimizers, set_lr
from lacy.train.sharding import average_rest, clip_gradients

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

SEED_STRIDE = 1_000_003
"""A step's seed is ``seed * SEED_STRIDE + step``, so runs never share random numbers."""


class ModelBody(nn.Module):
    """The model without its head, as a module for DDP and ``torch.compile``."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """Return hidden_BTD."""
        return hidden_states(self.model, ids_BT, positions_BT=positions_BT)


@dataclass(slots=True)
class FitState:
    """A model under training, with everything that a step reads or changes.

    Args:
        model: the causal language model; its last row is ``<CALL>``.
        optimizers: the optimizers of the trained parameters.
        step: number of steps done.
        quantile: a running threshold to use instead of an exact call rate in every batch.
        accelerator: the accelerator if there are several processes, else None.
        bf16: run the body in bfloat16 (weights stay in fp32).
        body: the module that computes hidden states, if it is compiled or wrapped.
    """

    model: PreTrainedModel
    optimizers: Sequence[torch.optim.Optimizer]
    step: int = 0
    quantile: RunningQuantile | None = None
    accelerator: Accelerator | None = None
    bf16: bool = False
    body: Any = None

    def __post_init__(self) -> None:
        if self.body is None:
            self.body = ModelBody(self.model)

    @classmethod
    def start(
        cls,
        model: PreTrainedModel,
        *,
        trainable: Callable[[str, nn.Parameter], bool] | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        lr: float = 3e-3,
        weight_decay: float = 0.01,
        bf16: bool = False,
    ) -> FitState:
        """Return the initial state for training a model.

        Args:
            model: any causal language model with ``<CALL>`` as its last row.
            trainable: returns True if a parameter is trained, given its name and the parameter;
                the others are frozen.
            optimizer: an optimizer to use instead of AdamW.
            lr: learning rate of AdamW.
            weight_decay: weight decay of AdamW for the body's matrices.
            bf16: run the body in bfloat16.
        """
        if trainable is not None:
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(trainable(name, parameter))
        if optimizer is None:
            return cls(model, make_optimizers(model, lr=lr, weight_decay=weight_decay), bf16=bf16)
        return cls(model, [optimizer], bf16=bf16)

    def parameters(self) -> list[nn.Parameter]:
        """Return the trained parameters in the model's order."""
        groups = (group for optimizer in self.optimizers for group in optimizer.param_groups)
        mine = {id(parameter) for group in groups for parameter in group["params"]}
        return [p for p in self.model.parameters() if p.requires_grad and id(p) in mine]

    def gradients(
        self,
        micros: Sequence[MicroBatch],
        objective: Objective,
        seed: int,
        extra: ExtraLoss | None = None,
    ) -> Tensor:
        """Run forward and backward of one batch, adding gradients to the parameters.

        Args:
            micros: the micro-batches; of several processes, each has a part of the rows of every
                micro-batch, and all have equally many.
            objective: settings of delegation and loss.
            seed: seed of random methods; must be equal in all processes.
            extra: a loss beside the objective.

        Returns:
            ``SUMS`` of the batch over all processes (float64, on the device).
        """
        batch_positions = self._gather(
            torch.stack([m.valid_BT.sum() for m in micros]).sum().view(1)
        ).sum()
        over_batch = self._exactly(objective) and len(micros) > 1
        compute = self._choose_over_batch if over_batch else self._choose_in_each
        sums = compute(micros, objective, seed, batch_positions, extra)
        average_rest(list(self.model.parameters()))
        return self._gather(sums.view(1, -1)).sum(0)

    def _exactly(self, objective: Objective) -> bool:
        """True if targets are chosen over the whole batch, and not by a running quantile."""
        return self.quantile is None and (objective.delegates or objective.ignore != "none")

    def _choose_in_each(
        self,
        micros: Sequence[MicroBatch],
        objective: Objective,
        seed: int,
        batch_positions: Tensor,
        extra: ExtraLoss | None,
    ) -> Tensor:
        """Choose targets in each micro-batch: exactly if there is one, else by quantile."""
        sums = []
        together = self.accelerator is not None and self._exactly(objective)
        choose = partial(self._choice, micros, objective, seed) if together else None
        for number, micro in enumerate(micros):
            with self._no_sync(number, len(micros)):
                outputs = self._forward(micro)
                found = select_and_loss(
                    *outputs, micro.targets_BT, micro.marks_BT, objective,
                    row_D=trained_row(self.model),
                    reference_loss_BT=micro.reference_BT,
                    generator=self._own_generator(seed, micro),
                    quantile=self.quantile if objective.delegates else None,
                    choose=choose,
                    text_scale=1.0 if extra is None else extra.text_scale,
                )  # fmt: skip
                choice = found.call_BT, found.ignore_BT
                total = _with_extra(found.loss.total, extra, micro, outputs, choice)
                self._backward(total, found.loss.positions, batch_positions)
            sums.append(_sums(total, found.loss, found.loss_BT, *choice))
        return torch.stack(sums).sum(0)

    def _choose_over_batch(
        self,
        micros: Sequence[MicroBatch],
        objective: Objective,
        seed: int,
        batch_positions: Tensor,
        extra: ExtraLoss | None,
    ) -> Tensor:
        """Compute all losses, choose over the whole batch, then compute the gradients."""
        losses = []
        with torch.no_grad():
            for micro in micros:
                losses.append(token_losses(*self._forward(micro), micro.targets_BT))
        loss_BT = torch.cat(losses)
        call_BT, ignore_BT = self._choice(micros, objective, seed, loss_BT)
        sums = []
        first = 0
        for number, micro in enumerate(micros):
            mine = slice(first, first + micro.ids_BT.shape[0])
            first = mine.stop
            choice = call_BT[mine], ignore_BT[mine]
            with self._no_sync(number, len(micros)):
                outputs = self._forward(micro)
                found = objective_loss(
                    *outputs,
                    micro.targets_BT,
                    choice[0],
                    call_negative=objective.call_negative,
                    text_weight=objective.text_weight,
                    ignore_BT=choice[1],
                    row_D=trained_row(self.model),
                    text_scale=1.0 if extra is None else extra.text_scale,
                )
                total = _with_extra(found.total, extra, micro, outputs, choice)
                self._backward(total, found.positions, batch_positions)
            sums.append(_sums(total, found, loss_BT[mine], *choice))
        return torch.stack(sums).sum(0)

    def _choice(
        self,
        micros: Sequence[MicroBatch],
        objective: Objective,
        seed: int,
        loss_BT: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Choose over the rows of all processes; return the part for this process's rows."""
        marks_BT = torch.cat([m.marks_BT for m in micros])
        valid_BT = torch.cat([m.valid_BT for m in micros])
        stored = [m.reference_BT for m in micros if m.reference_BT is not None]
        reference_BT = torch.cat(stored) if stored else None
        sizes = [m.ids_BT.shape[0] for m in micros]
        if self.accelerator is not None:  # one exchange; marks below 256 are exact in any dtype
            columns = [c for c in (loss_BT, reference_BT, marks_BT, valid_BT) if c is not None]
            dtype = torch.float32 if loss_BT is None else loss_BT.dtype
            packed_BCT = torch.stack([column.to(dtype) for column in columns], dim=1)
            whole = list(_by_micro(self._gather(packed_BCT), sizes).unbind(1))
            valid_BT, marks_BT = whole.pop().bool(), whole.pop().to(marks_BT.dtype)
            reference_BT = whole.pop() if reference_BT is not None else None
            loss_BT = whole.pop() if loss_BT is not None else None
        call_BT, ignore_BT = choose_targets(
            objective,
            loss_BT,
            marks_BT,
            valid_BT,
            reference_loss_BT=reference_BT,
            generator=_generator(seed, valid_BT.device),
        )
        rank = None if self.accelerator is None else self.accelerator.process_index
        return _of_process(call_BT, sizes, rank), _of_process(ignore_BT, sizes, rank)

    def _forward(self, micro: MicroBatch) -> tuple[Tensor, Tensor]:
        """Return hidden states and head in the same dtype: bfloat16 if the body uses it."""
        head_VD = frozen_head(self.model)
        if not self.bf16:
            return self.body(micro.ids_BT, micro.positions_BT), head_VD
        with torch.autocast(micro.ids_BT.device.type, dtype=torch.bfloat16):
            hidden_BTD = self.body(micro.ids_BT, micro.positions_BT)
        return hidden_BTD.bfloat16(), head_VD.bfloat16()

    def _backward(self, mean: Tensor, positions: Tensor, batch_positions: Tensor) -> None:
        """Run backward with the mean weighted by its share of the batch; DDP averages gradients."""
        processes = 1 if self.accelerator is None else self.accelerator.num_processes
        (mean * (positions.to(mean) * processes / batch_positions.to(mean).clamp_min(1))).backward()

    def _no_sync(self, number: int, count: int) -> AbstractContextManager[Any]:
        """Return a context in which DDP exchanges gradients only at the last micro-batch."""
        if self.accelerator is None or number == count - 1:
            return nullcontext()
        return cast(AbstractContextManager[Any], self.accelerator.no_sync(self.body))

    def _own_generator(self, seed: int, micro: MicroBatch) -> torch.Generator:
        """Return a generator for the rows of a micro-batch that this process computes.

        On a CPU, the processes together draw the numbers that one would draw.
        """
        generator = _generator(seed, micro.ids_BT.device)
        if self.accelerator is not None:
            before = self.accelerator.process_index * micro.ids_BT.numel()
            torch.rand(before, generator=generator, device=micro.ids_BT.device)
        return generator

    def _gather(self, tensor: Tensor) -> Tensor:
        """Concatenate the tensors of all processes along the first dimension."""
        if self.accelerator is None:
            return tensor
        return cast(Tensor, self.accelerator.gather(tensor))


def fit(
    state: FitState,
    batches: Iterable[Batch],
    objective: Objective | Callable[[int], Objective] | None = None,
    *,
    lr: float | Callable[[int], float] | None = None,
    clip: float = 1.0,
    seed: int = 0,
    extra: ExtraLoss | None = None,
) -> Iterator[StepResult]:
    """Train on each batch: forward, choice, loss, backward, clipping, update.

    Args:
        state: the model and its optimizers; changed by every step.
        batches: one batch per step.
        objective: settings of delegation and loss, or a function that returns them for a number of
            steps done; by default the defaults of ``lacy train``.
        lr: learning rate, or a function of the number of steps done; None keeps the optimizers'.
        clip: maximum gradient norm; 0 for no limit.
        seed: seed of random methods.
        extra: a loss beside the objective.

    Yields:
        The result of each step. A step runs only when its result is requested.
    """
    objective = objective or Objective()
    parameters = state.parameters()
    state.model.train()
    for batch in batches:
        step = state.step
        if lr is not None:
            set_lr(state.optimizers, lr(step) if callable(lr) else lr)
        sums = state.gradients(
            _micro_batches(batch, state.model.device),
            objective(step) if callable(objective) else objective,
            seed * SEED_STRIDE + step,
            extra,
        )
        norm = clip_gradients(parameters, clip)
        for optimizer in state.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        state.step = step + 1
        yield StepResult(state.step, state.optimizers[0].param_groups[0]["lr"], sums, norm)


def _micro_batches(batch: Batch, device: torch.device) -> list[MicroBatch]:
    parts = [batch] if isinstance(batch, MicroBatch | Mapping) else batch
    return [p if isinstance(p, MicroBatch) else MicroBatch.of(p, device) for p in parts]


def _by_micro(every_B: Tensor, sizes: Sequence[int]) -> Tensor:
    """Reorder gathered rows: from process, micro-batch, row to micro-batch, process, row."""
    by_process = every_B.view(-1, sum(sizes), *every_B.shape[1:])
    return torch.cat([part.flatten(0, 1) for part in by_process.split(list(sizes), dim=1)])


def _of_process(every_B: Tensor, sizes: Sequence[int], rank: int | None) -> Tensor:
    """Return one process's rows of all rows in the order of ``_by_micro``; None returns all."""
    if rank is None:
        return every_B
    processes = every_B.shape[0] // sum(sizes)
    parts = every_B.split([size * processes for size in sizes])
    own = zip(parts, sizes, strict=True)
    return torch.cat([part[rank * size : (rank + 1) * size] for part, size in own])


def _generator(seed: int, device: torch.device) -> torch.Generator:
    """Return a generator that depends only on the seed, so checkpoints need not store its state."""
    return torch.Generator(device).manual_seed(seed % 2**63)


def _with_extra(
    total: Tensor,
    extra: ExtraLoss | None,
    micro: MicroBatch,
    outputs: tuple[Tensor, Tensor],
    choice: tuple[Tensor, Tensor],
) -> Tensor:
    """Return the objective plus the further loss, if there is one."""
    return total if extra is None else total + extra(micro, *outputs, *choice)


def _sums(total: Tensor, loss: Loss, loss_BT: Tensor, call_BT: Tensor, ignore_BT: Tensor) -> Tensor:
    """Return ``SUMS`` of one micro-batch."""
    count = loss.positions.detach().double()
    losses_BT = loss_BT.double()
    text_BT = ~(call_BT | ignore_BT)
    parts = (
        total.detach().double() * count,
        loss.call.detach().double() * count,
        (losses_BT * text_BT).sum(),
        losses_BT.sum(),
        count,
        loss.delegated.double(),
        loss.ignored.double(),
    )
    return torch.stack(parts)
