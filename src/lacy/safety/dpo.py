r"""Direct preference optimisation as a loss beside the objective of ``lacy.train.fit``.

    -log sigmoid(beta [log pi/pi_ref(chosen) - log pi/pi_ref(rejected)])

(Rafailov et al., arXiv 2305.18290, eq. 7.) The reference is the model with its adapters off, so no
second copy of it is needed; its log-probabilities are computed once. ``<CALL>`` is left out of all
probabilities. As adapters move the hidden states that also the gate reads, ``hold_call`` keeps the
margin of the gate where it was.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from lacy.model import gate_of, head_weight, hidden_states
from lacy.safety.rows import ReplyRows, reply_places
from lacy.train import MicroBatch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 256
"""Targets whose logits are held at a time."""

REFERENCE_BATCH = 4
"""Samples of one forward pass of the reference."""


class DpoLoss:
    """The DPO loss of pairs, as an ``ExtraLoss``; there is no loss of the text.

    A step must be one micro-batch of ``ReplyRows.batch``, because a loss beside the objective is
    weighted by its targets, and DPO averages over pairs.

    Args:
        model: the model, with LoRA adapters.
        rows: the pairs.
        beta: how strongly the model is held to the reference.
        hold_call: weight of the squared change of the gate's margin at the targets; 0 for none.
    """

    text_scale = 0.0

    def __init__(
        self, model: PreTrainedModel, rows: ReplyRows, *, beta: float = 0.1, hold_call: float = 0.0
    ) -> None:
        self.beta, self.hold_call, self._model = beta, hold_call, model
        self.reference_R, self._margins = reference(model, rows, margins=hold_call > 0)

    def __call__(
        self,
        micro: MicroBatch,
        hidden_BTD: Tensor,
        head_VD: Tensor,
        call_BT: Tensor,
        ignore_BT: Tensor,
    ) -> Tensor:
        """Return the mean loss of the micro-batch's pairs."""
        logp_B, margin_N = reply_logps(micro, hidden_BTD, head_VD, gate_of(self._model))
        assert micro.rows_B is not None
        reference_B = self.reference_R.to(logp_B)[torch.as_tensor(micro.rows_B)]
        gain_B = logp_B - reference_B
        loss: Tensor = -functional.logsigmoid(self.beta * (gain_B[0::2] - gain_B[1::2])).mean()
        if self.hold_call:
            before_N = torch.cat([self._margins[row] for row in micro.rows_B]).to(margin_N)
            loss = loss + self.hold_call * (margin_N - before_N).square().mean()
        return loss


def reply_logps(
    micro: MicroBatch, hidden_BTD: Tensor, head_VD: Tensor, gate: str
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each reply, and the gate's margin at each of its targets.

    Args:
        micro: the rows; only replies have targets.
        hidden_BTD: inputs of the head.
        head_VD: the head, ``<CALL>`` last.
        gate: ``gate_of`` the model: with a gate of its own, the margin is the logit of ``<CALL>``;
            else its log-probability against all others.

    Returns:
        logp_B, a sum over the reply's tokens, and margin_N, in the order of ``reply_places``.
    """
    row_N, place_N = reply_places(micro)
    hidden_ND, target_N = hidden_BTD[row_N, place_N], micro.targets_BT[row_N, place_N]
    logps, margins = [], []
    for start in range(0, len(target_N), CHUNK):
        part = slice(start, start + CHUNK)
        logp_n, norm_n, call_n = _chunk(hidden_ND[part], head_VD, target_N[part])
        logps.append(logp_n)
        margins.append(call_n if gate == "sigmoid" else call_n - norm_n)
    logp_B = torch.zeros(len(hidden_BTD), dtype=logps[0].dtype, device=hidden_BTD.device)
    return logp_B.index_add(0, row_N, torch.cat(logps)), torch.cat(margins)


def _chunk(hidden_nD: Tensor, head_VD: Tensor, target_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log-probabilities, norms and logits of ``<CALL>``; logits are not kept."""

    def compute(hidden_nD: Tensor, head_VD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits_nV = (hidden_nD @ head_VD.T).float()
        norm_n = logits_nV[:, :-1].logsumexp(1)
        own_n = logits_nV.gather(1, target_n[:, None])[:, 0]
        return own_n - norm_n, norm_n, logits_nV[:, -1]

    if not torch.is_grad_enabled():
        return compute(hidden_nD, head_VD)
    found: tuple[Tensor, Tensor, Tensor] = checkpoint(
        compute, hidden_nD, head_VD, use_reentrant=False
    )
    return found


@torch.no_grad()
def reference(
    model: PreTrainedModel, rows: ReplyRows, *, margins: bool = False, adapters: bool = False
) -> tuple[Tensor, list[Tensor]]:
    """Return the log-probability of every row, by default by the model without its adapters.

    Args:
        model: the model; it is left as it was.
        rows: the rows.
        margins: also return the gate's margin at the targets of each row.
        adapters: leave the adapters on.

    Returns:
        logp_R (float32, on the CPU), and a tensor of margins per row (or an empty list).
    """
    training, logps, found = model.training, [], []
    model.eval()
    with contextlib.nullcontext() if adapters else without_adapters(model):
        for start in range(0, len(rows), REFERENCE_BATCH):
            numbers = range(start, min(start + REFERENCE_BATCH, len(rows)))
            micro = rows.batch(list(numbers), model.device)
            hidden_BTD = hidden_states(model, micro.ids_BT, positions_BT=micro.positions_BT)
            logp_B, margin_N = reply_logps(micro, hidden_BTD, head_weight(model), gate_of(model))
            logps.append(logp_B.float().cpu())
            if margins:
                row_N, _ = reply_places(micro)
                found += [margin_N[row_N == row].cpu() for row in range(len(hidden_BTD))]
    model.train(training)
    return torch.cat(logps) if logps else torch.zeros(0), found


@contextlib.contextmanager
def without_adapters(model: PreTrainedModel) -> Iterator[None]:
    """Switch LoRA off in a context; the ``<CALL>`` row stays as it is."""
    from peft.tuners.lora import LoraLayer

    layers: list[Any] = [one for one in model.modules() if isinstance(one, LoraLayer)]
    trained = [(one, one.requires_grad) for one in model.parameters()]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter, requires in trained:  # peft changes what is trained
            parameter.requires_grad_(requires)
