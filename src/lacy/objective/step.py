"""Selection and loss in one pass over the head: what a training step calls.

Ranking needs the losses of all tokens, and the loss needs the ranking; done one after the other,
the head (half the work of a small model) would be computed twice. ``select_and_loss`` shares it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lacy.errors import LacyError
from lacy.objective import fused, select
from lacy.objective.losses import (
    IGNORE_INDEX,
    Loss,
    check_settings,
    choose_impl,
    loss,
    make_loss,
    token_losses,
)
from lacy.objective.methods import CallNegative, Delegate, Ignore, Impl, RankWithin, get_method
from lacy.objective.quantile import RunningQuantile
from lacy.types import MarkFlag


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch gave: the loss, the choice, and the losses it was made by."""

    loss: Loss
    call_BT: Tensor
    """Which targets are ``<CALL>``."""
    ignore_BT: Tensor
    """Which targets get no gradient."""
    loss_BT: Tensor
    r"""-log p_\CALL(target), no gradient; 0 where there is no target."""
    shortfall: Tensor
    """How many tokens fewer are delegated than asked for, because the marks are fewer or values
    are not cut (int64, on the device). With a running quantile the count of one batch is free, and
    this is 0."""


@dataclass(frozen=True, slots=True)
class _Chooser:
    """All that a choice needs except the losses."""

    method: str
    call_rate: float
    delegate: Delegate
    rank_within: RankWithin
    ignore: Ignore
    ignore_rate: float
    marks_BT: Tensor
    valid_BT: Tensor
    reference_loss_BT: Tensor | None
    generator: torch.Generator | None
    selector: RunningQuantile | None

    @property
    def needs_loss(self) -> bool:
        return get_method(self.method).needs_loss or self.ignore == "all"

    def undecided(self) -> Tensor:
        """Tokens whose role depends on the losses."""
        among_BT = select.candidates(self.method, self.marks_BT, self.valid_BT)
        if self.ignore == "all":
            among_BT = among_BT | (select.has(self.marks_BT, MarkFlag.CONTENT) & self.valid_BT)
        return among_BT

    def ignored_facts(self) -> Tensor:
        """Facts that are ignored whatever the losses, unless they are delegated."""
        if self.ignore == "none":
            return torch.zeros_like(self.valid_BT)
        return select.has(self.marks_BT, MarkFlag.FACT) & self.valid_BT

    def __call__(self, loss_BT: Tensor | None) -> tuple[Tensor, Tensor]:
        """The choice: which targets are delegated, which ignored."""
        reference, generator = self.reference_loss_BT, self.generator
        if self.selector is None:
            call_BT = select.choose(
                self.method,
                loss_BT,
                self.marks_BT,
                self.call_rate,
                self.valid_BT,
                delegate=self.delegate,
                rank_within=self.rank_within,
                reference_loss_BT=reference,
                generator=generator,
            )
        else:
            among_BT = select.candidates(self.method, self.marks_BT, self.valid_BT)
            score_BT = select.scores(
                self.method,
                loss_BT,
                self.valid_BT,
                reference_loss_BT=reference,
                generator=generator,
            )
            call_BT = self.selector.select(score_BT, among_BT, self.valid_BT)
        if self.ignore == "all" and loss_BT is not None:
            ignore_BT = select.ignore_all(
                loss_BT, self.marks_BT, call_BT, self.valid_BT, self.ignore_rate
            )
        else:
            ignore_BT = self.ignored_facts() & ~call_BT
        return call_BT, ignore_BT


def select_and_loss(
    hidden_BTD: Tensor,
    head_VD: Tensor,
    targets_BT: Tensor,
    target_marks_BT: Tensor,
    *,
    method: str = "lacy",
    call_rate: float = 0.15,
    call_negative: CallNegative = "none",
    text_weight: float = 0.0,
    delegate: Delegate = "token",
    rank_within: RankWithin = "batch",
    ignore: Ignore = "none",
    ignore_rate: float = 0.15,
    reference_loss_BT: Tensor | None = None,
    generator: torch.Generator | None = None,
    selector: RunningQuantile | None = None,
    impl: Impl = "auto",
) -> Step:
    """Chooses what is delegated in this batch and computes the loss, in one pass over the head.

    Args:
        hidden_BTD: what the head sees.
        head_VD: rows of the vocabulary, ``<CALL>`` last.
        targets_BT: ids, -100 for none (``shift``).
        target_marks_BT: uint8 marks of the targets (``shift``).
        method: a name of ``methods.METHODS``.
        call_rate: share of the positions to delegate.
        call_negative: ``none``, ``softmax`` or ``sigmoid`` (``losses``).
        text_weight: weight of the text loss at delegated positions.
        delegate: ``token`` (paper), ``value`` or ``start`` (``select.choose``).
        rank_within: ``batch`` (paper) or ``sequence``.
        ignore: ``none`` (paper), ``facts`` or ``all`` (ablations, §5.4).
        ignore_rate: for ``all``, the share of positions ignored altogether.
        reference_loss_BT: a reference model's losses, for the methods that rank by them.
        generator: source of chance of the random methods.
        selector: a running threshold instead of the exact count of this batch, for gradient
            accumulation and several processes; ranks tokens, and no row by itself.
        impl: as in ``loss``; ``reference`` and ``split`` compute the head twice.

    Returns:
        The loss and what was chosen.

    Raises:
        LacyError: E12, E40, E41 or E42, as ``select.choose`` and ``loss``.
    """
    check_settings(call_negative, impl)
    select.check_ranking(delegate, rank_within, running=selector is not None)
    if ignore not in ("none", "facts", "all"):
        raise LacyError(
            "E12", key="ignore", value=ignore, why="there is no such choice",
            do="choose one of: none, facts, all",
        )  # fmt: skip
    if impl == "auto":
        impl, _ = choose_impl()
    valid_BT = targets_BT != IGNORE_INDEX
    chooser = _Chooser(
        method,
        call_rate,
        delegate,
        rank_within,
        ignore,
        ignore_rate,
        target_marks_BT,
        valid_BT,
        reference_loss_BT,
        generator,
        selector,
    )
    if impl == "fused":
        step_loss, call_BT, ignore_BT, loss_BT = _fused(
            hidden_BTD, head_VD, targets_BT, chooser, call_negative, text_weight
        )
    else:
        loss_BT = token_losses(hidden_BTD, head_VD, targets_BT)
        call_BT, ignore_BT = chooser(loss_BT)
        step_loss = loss(
            hidden_BTD,
            head_VD,
            targets_BT,
            call_BT,
            call_negative=call_negative,
            text_weight=text_weight,
            ignore_BT=ignore_BT,
            impl=impl,
        )
    if selector is not None or method == "none":
        missing = step_loss.delegated.new_zeros(())
    else:
        missing = select.shortfall(call_BT, call_rate, valid_BT, rank_within)
    return Step(step_loss, call_BT, ignore_BT, loss_BT, missing)


def _fused(
    hidden_BTD: Tensor,
    head_VD: Tensor,
    targets_BT: Tensor,
    chooser: _Chooser,
    call_negative: CallNegative,
    text_weight: float,
) -> tuple[Loss, Tensor, Tensor, Tensor]:
    """One pass: certain rows at once, undecided ones after the choice."""
    shape = targets_BT.shape

    def decide(loss_N: Tensor) -> tuple[Tensor, Tensor]:
        call_BT, ignore_BT = chooser(loss_N.view(shape))
        return call_BT.reshape(-1), ignore_BT.reshape(-1)

    if chooser.needs_loss:
        undecided_N = chooser.undecided().reshape(-1)
        call_N = torch.zeros_like(undecided_N)
        ignore_N = chooser.ignored_facts().reshape(-1) & ~undecided_N
    else:
        call_BT, ignore_BT = chooser(None)
        call_N, ignore_N, undecided_N = call_BT.reshape(-1), ignore_BT.reshape(-1), None
    result = fused.run(
        hidden_BTD.reshape(-1, hidden_BTD.shape[-1]),
        head_VD,
        targets_BT.reshape(-1),
        call_N,
        ignore_N,
        call_negative,
        text_weight,
        undecided_N=undecided_N,
        decide=None if undecided_N is None else decide,
    )
    valid_N = chooser.valid_BT.reshape(-1)
    whole = make_loss(result.total, result.parts, valid_N, result.call_N, result.ignore_N)
    return whole, result.call_N.view(shape), result.ignore_N.view(shape), result.loss_N.view(shape)
