"""Choose targets and compute the loss in one pass over the head, as each training step does.

Ranking needs the losses of all tokens, and the loss needs the ranking. Computed separately, the
head (half the work of a small model) would run twice; ``select_and_loss`` shares it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lacy.objective import fused
from lacy.objective.losses import IGNORE_INDEX, Loss, choose_impl, loss, make_loss, token_losses
from lacy.objective.quantile import RunningQuantile
from lacy.objective.select import choose_targets, delegable, has_flag
from lacy.objective.settings import METHODS, Impl, Objective
from lacy.types import MarkFlag

Choose = Callable[[Tensor | None], tuple[Tensor, Tensor]]
"""Returns ``call_BT`` and ``ignore_BT`` for losses, or for None if the method needs none."""


@dataclass(frozen=True, slots=True)
class BatchLoss:
    """The loss of a batch, the chosen targets, and the losses that the choice is based on."""

    loss: Loss
    call_BT: Tensor
    """Mask of targets that are ``<CALL>``."""
    ignore_BT: Tensor
    """Mask of targets without gradient."""
    loss_BT: Tensor
    r"""-log p_\CALL(target), no gradient; 0 where there is no target."""


def select_and_loss(
    hidden_BTD: Tensor,
    head_VD: Tensor,
    targets_BT: Tensor,
    target_marks_BT: Tensor,
    objective: Objective | None = None,
    *,
    reference_loss_BT: Tensor | None = None,
    generator: torch.Generator | None = None,
    quantile: RunningQuantile | None = None,
    choose: Choose | None = None,
    row_D: Tensor | None = None,
    text_scale: float = 1.0,
    impl: Impl = "auto",
) -> BatchLoss:
    """Choose the targets to delegate and compute the loss in one pass over the head.

    Args:
        hidden_BTD: inputs of the head.
        head_VD: one row per token of the vocabulary, ``<CALL>`` last.
        targets_BT: ids; -100 for none (``shift``).
        target_marks_BT: uint8 marks of the targets (``shift``).
        objective: settings of delegation and loss; by default the defaults of ``lacy train``.
        reference_loss_BT: a reference model's losses, for methods that rank by them.
        generator: random generator for random methods.
        quantile: a running threshold instead of the exact count of this batch, for gradient
            accumulation and several processes.
        choose: chooses instead of ``choose_targets``, for example over the rows of several
            processes; called once with the losses of these rows.
        row_D: the ``<CALL>`` row, if it is trained without the rest of the head (``loss``).
        text_scale: factor of the whole text loss (``loss``).
        impl: as in ``loss``; ``reference`` computes the head twice.

    Returns:
        The loss and the choice.

    Raises:
        LacyError: E12, E41 or E42; see ``choose_targets`` and ``loss``.
    """
    objective = objective or Objective()
    if impl == "auto":
        impl, _ = choose_impl()
    valid_BT = targets_BT != IGNORE_INDEX

    def decide(loss_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        if choose is not None:
            return choose(loss_BT)
        return choose_targets(
            objective,
            loss_BT,
            target_marks_BT,
            valid_BT,
            reference_loss_BT=reference_loss_BT,
            generator=generator,
            quantile=quantile,
        )

    if impl == "fused":
        batch_loss, call_BT, ignore_BT, loss_BT = _in_one_pass(
            hidden_BTD, head_VD, row_D, targets_BT, target_marks_BT, objective, decide, text_scale
        )
    else:
        loss_BT = token_losses(hidden_BTD, head_VD, targets_BT)
        call_BT, ignore_BT = decide(loss_BT)
        batch_loss = loss(
            hidden_BTD,
            head_VD,
            targets_BT,
            call_BT,
            call_negative=objective.call_negative,
            text_weight=objective.text_weight,
            ignore_BT=ignore_BT,
            row_D=row_D,
            text_scale=text_scale,
            impl=impl,
        )
    return BatchLoss(batch_loss, call_BT, ignore_BT, loss_BT)


def _in_one_pass(
    hidden_BTD: Tensor,
    head_VD: Tensor,
    row_D: Tensor | None,
    targets_BT: Tensor,
    target_marks_BT: Tensor,
    objective: Objective,
    decide: Choose,
    text_scale: float,
) -> tuple[Loss, Tensor, Tensor, Tensor]:
    """Compute rows with a certain role at once and undecided rows after the choice (``fused``)."""
    shape, valid_BT = targets_BT.shape, targets_BT != IGNORE_INDEX
    undecided_N = None
    if METHODS[objective.method].needs_loss or objective.ignore == "all":
        undecided_BT, ignore_BT = _roles_before(objective, target_marks_BT, valid_BT)
        call_BT, undecided_N = torch.zeros_like(undecided_BT), undecided_BT.reshape(-1)
    else:
        call_BT, ignore_BT = decide(None)

    def decide_flat(loss_N: Tensor) -> tuple[Tensor, Tensor]:
        call_BT, ignore_BT = decide(loss_N.view(shape))
        return call_BT.reshape(-1), ignore_BT.reshape(-1)

    result = fused.fused_loss(
        hidden_BTD.reshape(-1, hidden_BTD.shape[-1]),
        head_VD,
        targets_BT.reshape(-1),
        call_BT.reshape(-1),
        ignore_BT.reshape(-1),
        objective.call_negative,
        objective.text_weight,
        row_D=row_D,
        undecided_N=undecided_N,
        decide=None if undecided_N is None else decide_flat,
        text_scale=text_scale,
    )
    whole = make_loss(
        result.total, result.parts, valid_BT.reshape(-1), result.call_N, result.ignore_N
    )
    return whole, result.call_N.view(shape), result.ignore_N.view(shape), result.loss_N.view(shape)


def _roles_before(
    objective: Objective, target_marks_BT: Tensor, valid_BT: Tensor
) -> tuple[Tensor, Tensor]:
    """Return masks of tokens with an undecided role, and of tokens always ignored."""
    undecided_BT = delegable(objective, target_marks_BT, valid_BT)
    if objective.ignore == "all":
        undecided_BT = undecided_BT | (has_flag(target_marks_BT, MarkFlag.CONTENT) & valid_BT)
    if objective.ignore == "none":
        return undecided_BT, torch.zeros_like(valid_BT)
    return undecided_BT, has_flag(target_marks_BT, MarkFlag.FACT) & valid_BT & ~undecided_BT
