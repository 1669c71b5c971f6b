r"""The loss: predict ``<CALL>`` at delegated positions and the true token elsewhere (§4).

Let C be the mask of delegated targets, p the softmax over the whole vocabulary, and p_\CALL the
softmax without the ``<CALL>`` logit (always the last row of the head). Then

    loss = -1/N * sum_t [ C_t * log p(CALL | x_<=t) + (1 - C_t) * log p_\CALL(x_t+1 | x_<=t) ]

N counts all positions with a target, including delegated and *ignored* ones, as in the paper, so
that ignoring some tokens does not change the weight of the others.

``call_negative`` selects the loss that lowers the ``<CALL>`` logit where it is not the target:

- ``none``: nothing (the paper). The gradient is exactly zero there, and +inf costs nothing.
- ``softmax``: the true token competes with ``<CALL>``: ``-log p(x_t+1)``, which is the text loss
  without ``<CALL>`` plus ``-log(1 - p(CALL))``.
- ``sigmoid``: a separate gate, q = sigmoid(``<CALL>`` logit): ``-log q`` where delegated,
  ``-log(1 - q)`` elsewhere; the text loss stays p_\CALL.

``impl``: ``reference`` is the formula, one line per term; ``fused`` (``fused.py``) never stores
more than a chunk of logits. Both give equal values and gradients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lacy._require import require_one_of
from lacy.errors import LacyError
from lacy.objective import fused
from lacy.objective.settings import CallNegative, Impl

IGNORE_INDEX = -100
"""Marks positions without target; torch's default ``ignore_index``."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The loss and its parts; only ``total`` has a gradient.

    ``total = text + call + negative``, each a sum divided by ``positions``.
    """

    total: Tensor
    text: Tensor
    """Text loss of text targets, plus ``text_weight`` times that of delegated targets; the sum is
    multiplied by ``text_scale``."""
    call: Tensor
    """``-log p(CALL)`` at delegated positions."""
    negative: Tensor
    """Loss added by ``call_negative`` at text targets; 0 for ``none``."""
    positions: Tensor
    """N, the number of positions with a target."""
    delegated: Tensor
    """Number of targets that are ``<CALL>``."""
    ignored: Tensor
    """Number of targets without gradient."""

    def numbers(self) -> dict[str, float]:
        """Return all parts as Python numbers; synchronizes with the device once."""
        names = ("total", "text", "call", "negative", "positions", "delegated", "ignored")
        values = torch.stack([getattr(self, name).detach().double() for name in names]).tolist()
        return dict(zip(names, values, strict=True))


def shift(input_ids_BT: Tensor, marks_BT: Tensor, segments_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Make targets: position t predicts token t + 1 of the same document.

    Args:
        input_ids_BT: token ids.
        marks_BT: uint8 marks of the same tokens.
        segments_BT: number of each token's document in the row; 0 for padding.

    Returns:
        targets_BT (int64): -100 at the end of a row and where the next token is padding or
        belongs to another document. target_marks_BT (uint8): the marks of the targets, 0
        without target.
    """
    same_BT = torch.zeros_like(segments_BT, dtype=torch.bool)
    same_BT[:, :-1] = (segments_BT[:, 1:] == segments_BT[:, :-1]) & (segments_BT[:, 1:] != 0)
    targets_BT = input_ids_BT.long().roll(-1, 1).masked_fill(~same_BT, IGNORE_INDEX)
    return targets_BT, marks_BT.roll(-1, 1).masked_fill(~same_BT, 0)


@torch.no_grad()
def token_losses(hidden_BTD: Tensor, head_VD: Tensor, targets_BT: Tensor) -> Tensor:
    r"""Return the text loss of every position, ``-log p_\CALL(target)``, without gradient.

    Args:
        hidden_BTD: inputs of the head, of any float type.
        head_VD: one row per token of the vocabulary, ``<CALL>`` last.
        targets_BT: ids below V - 1, or -100 for none.

    Returns:
        loss_BT, float32 (float64 for float64 inputs), 0 where there is no target.
    """
    hidden_ND = hidden_BTD.reshape(-1, hidden_BTD.shape[-1])
    if torch.compiler.is_compiling():  # compiling needs fixed shapes, so compute all logits
        logits_NV = hidden_ND @ head_VD[:-1].T
        accumulate_dtype = torch.promote_types(logits_NV.dtype, torch.float32)
        loss_N = F.cross_entropy(
            logits_NV.to(accumulate_dtype), targets_BT.reshape(-1), reduction="none"
        )
        return loss_N.view(targets_BT.shape)
    return fused.text_losses(hidden_ND, head_VD, targets_BT.reshape(-1)).view(targets_BT.shape)


def loss(
    hidden_BTD: Tensor,
    head_VD: Tensor,
    targets_BT: Tensor,
    call_BT: Tensor,
    *,
    call_negative: CallNegative = "none",
    text_weight: float = 0.0,
    ignore_BT: Tensor | None = None,
    row_D: Tensor | None = None,
    text_scale: float = 1.0,
    impl: Impl = "auto",
) -> Loss:
    r"""Return the loss for given delegated targets (see the module docstring; paper §4).

    Args:
        hidden_BTD: inputs of the head.
        head_VD: one row per token of the vocabulary, ``<CALL>`` last (may be a tied embedding).
        targets_BT: ids below V - 1, or -100 without target.
        call_BT: bool mask of targets that are ``<CALL>``; no effect without target.
        call_negative: ``none`` (paper), ``softmax`` or ``sigmoid``.
        text_weight: weight of the text loss (p_\CALL) *at delegated positions*; 0 in the paper.
        ignore_BT: bool mask of positions without gradient; delegated positions are never ignored.
        row_D: the ``<CALL>`` row, if it is trained without the rest of the head; it replaces the
            last row of ``head_VD``.
        text_scale: factor of the whole text loss, if another loss takes the rest of its place
            (distillation); the losses of ``<CALL>`` keep their weight.
        impl: ``auto`` (see ``choose_impl``), ``reference`` or ``fused``.

    Returns:
        The loss and its parts; without any target, all are 0 with zero gradients.

    Raises:
        LacyError: E12, unknown ``call_negative`` or ``impl``; E42, shapes differ.
    """
    require_one_of("call_negative", call_negative, get_args(CallNegative))
    require_one_of("impl", impl, get_args(Impl))
    for name, mask in (("call_BT", call_BT), ("ignore_BT", ignore_BT)):
        if mask is not None and mask.shape != targets_BT.shape:
            got, want = tuple(mask.shape), tuple(targets_BT.shape)
            raise LacyError("E42", name=name, got=got, want=want)
    if impl == "auto":
        impl, _ = choose_impl()
    hidden_ND = hidden_BTD.reshape(-1, hidden_BTD.shape[-1])
    targets_N = targets_BT.reshape(-1)
    valid_N = targets_N != IGNORE_INDEX
    call_N = call_BT.reshape(-1) & valid_N
    ignore_N = torch.zeros_like(call_N)
    if ignore_BT is not None:
        ignore_N = ignore_BT.reshape(-1) & valid_N & ~call_N
    if impl == "fused":
        result = fused.fused_loss(
            hidden_ND, head_VD, targets_N, call_N, ignore_N, call_negative, text_weight,
            row_D=row_D, text_scale=text_scale,
        )  # fmt: skip
        return make_loss(result.total, result.parts, valid_N, call_N, ignore_N)
    if row_D is not None:
        head_VD = torch.cat((head_VD[:-1], row_D[None]))
    sums = _reference(
        hidden_ND, head_VD, targets_N, call_N, ignore_N, valid_N, call_negative, text_weight
    )
    parts = torch.stack((text_scale * sums[0], *sums[1:])) / valid_N.sum().clamp(min=1)
    return make_loss(parts.sum(), parts, valid_N, call_N, ignore_N)


def make_loss(
    total: Tensor, parts: Tensor, valid_N: Tensor, call_N: Tensor, ignore_N: Tensor
) -> Loss:
    """Make a ``Loss`` from the total, its parts (text, call, negative) and the masks."""
    text, call, negative = parts.detach().unbind()
    return Loss(total, text, call, negative, valid_N.sum(), call_N.sum(), ignore_N.sum())


def choose_impl() -> tuple[Impl, str]:
    """Return the implementation that ``impl="auto"`` uses here, and a sentence that says why."""
    if torch.compiler.is_compiling():
        return "reference", "reference: the graph is being compiled, and only it has fixed shapes"
    return "fused", "fused: fastest and smallest at every size in benchmarks/loss_memory.py"


def _reference(
    hidden_ND: Tensor,
    head_VD: Tensor,
    targets_N: Tensor,
    call_N: Tensor,
    ignore_N: Tensor,
    valid_N: Tensor,
    call_negative: CallNegative,
    text_weight: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the sums of the text, call and negative terms, computed from all logits at once."""
    logits_NV = (hidden_ND @ head_VD.T).to(torch.promote_types(hidden_ND.dtype, torch.float32))
    text_target_N = valid_N & ~call_N & ~ignore_N
    index_N1 = targets_N.clamp(min=0)[:, None]

    without_call_NV = F.log_softmax(logits_NV[:, :-1], dim=-1)
    text_N = -without_call_NV.gather(1, index_N1)[:, 0]
    weight_N = text_target_N.to(text_N.dtype) + text_weight * call_N.to(text_N.dtype)
    text = (torch.where(weight_N != 0, text_N, 0.0) * weight_N).sum()

    if call_negative == "sigmoid":
        gate_N = logits_NV[:, -1]
        call = -torch.where(call_N, F.logsigmoid(gate_N), 0.0).sum()
        negative = -torch.where(text_target_N, F.logsigmoid(-gate_N), 0.0).sum()
        return text, call, negative
    with_call_NV = F.log_softmax(logits_NV, dim=-1)
    call = -torch.where(call_N, with_call_NV[:, -1], 0.0).sum()
    if call_negative == "none":
        return text, call, torch.zeros_like(call)
    competing_N = -with_call_NV.gather(1, index_N1)[:, 0]
    return text, call, torch.where(text_target_N, competing_N - text_N, 0.0).sum()
