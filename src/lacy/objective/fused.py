"""Compute head and loss together in chunks of rows; the forward pass also computes the gradients.

A naive loss writes V logits of every position to memory, reads them for two softmaxes, keeps them
for the backward pass and writes as many gradients. Here, each chunk of rows goes through the head
and is turned into probabilities and immediately into gradients, and its memory is reused. A single
pass is not always possible, because *which* rows are delegated depends on the losses of all rows.
Rows with a certain role (for example, without fact tokens) are finished at once. For undecided
rows, the losses are computed first, and the rows are finished after the choice. Their probabilities
are kept in between if they fit into ``KEEP_BYTES``, and recomputed otherwise.

One formula covers all modes. Let p be the softmax over the text vocabulary, ``lse`` its
log-normalizer, z the ``<CALL>`` logit and u = z - lse; then ``log p(CALL) = log sigmoid(u)``. The
gradient of a row's loss is ``(w - g) p - w onehot(target)`` on the text logits and ``g`` on z,
where w is the weight of the text loss and g = dloss/du. For the separate gate (``sigmoid``), u = z,
and the factor of p is w alone.

Second-order gradients are not supported; use ``impl="reference"`` for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lacy.objective.settings import CallNegative

CHUNK_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}
"""Size of a chunk of logits: about the cache size on a CPU, large enough to occupy a GPU."""
KEEP_BYTES = {"cpu": 64 << 20, "cuda": 512 << 20}
"""Memory for the probabilities of undecided rows, so that they need not be recomputed."""
FEWEST_ROWS = 128
"""Minimum rows of a chunk; fewer make matrix products slow (64 rows take 1.6 times the time)."""

Decide = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Function from the losses of all rows (0 where undefined) to two masks: delegated and ignored."""


class RowScores(NamedTuple):
    """Scores computed from the logits of each row of a chunk."""

    text_n: Tensor
    r"""-log p_\CALL(target)."""
    gate_n: Tensor
    """u: the log-odds of ``<CALL>``."""


class Terms(NamedTuple):
    """Summed losses of a chunk (text, call, negative) and its gradient factors."""

    sums: Tensor
    spread_n: Tensor
    """Factor of p in the gradient of the text logits."""
    weight_n: Tensor
    """Weight of the text loss, subtracted at the target."""
    call_n: Tensor
    """Gradient of the ``<CALL>`` logit."""


@dataclass(frozen=True, slots=True)
class FusedLoss:
    """The loss (with gradient), its parts (text, call, negative), and the choice of rows."""

    total: Tensor
    parts: Tensor
    loss_N: Tensor
    call_N: Tensor
    ignore_N: Tensor


def chunk_rows(head_VD: Tensor) -> int:
    """Return the number of rows per chunk for this vocabulary size and device."""
    return max(FEWEST_ROWS, _budget(CHUNK_BYTES, head_VD) // (4 * head_VD.shape[0]))


def _budget(table: dict[str, int], tensor: Tensor) -> int:
    """Return the entry for a tensor's device; accelerators other than CUDA use CUDA's entry."""
    return table["cpu" if tensor.device.type == "cpu" else "cuda"]


def text_losses(hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor) -> Tensor:
    r"""Return -log p_\CALL(target) of every row, 0 where the target is -100; no gradient."""
    engine = _Engine(hidden_ND.detach(), head_VD.detach(), targets_N, "none")
    loss_N = hidden_ND.new_zeros(targets_N.shape, dtype=engine.accumulate_dtype)
    for rows_n in engine.chunks(targets_N >= 0):
        loss_N[rows_n] = engine.forward(rows_n)[1].text_n
    return loss_N


@torch.compiler.disable
def fused_loss(
    hidden_ND: Tensor,
    head_VD: Tensor,
    targets_N: Tensor,
    call_N: Tensor,
    ignore_N: Tensor,
    call_negative: CallNegative = "none",
    text_weight: float = 0.0,
    *,
    row_D: Tensor | None = None,
    undecided_N: Tensor | None = None,
    decide: Decide | None = None,
    text_scale: float = 1.0,
) -> FusedLoss:
    """Compute the loss and its gradients; undecided rows are chosen in between by ``decide``.

    Args:
        hidden_ND: inputs of the head.
        head_VD: one row per token of the vocabulary, ``<CALL>`` last.
        targets_N: ids; -100 for none.
        call_N: mask of delegated rows, as far as known.
        ignore_N: mask of rows without gradient, as far as known.
        call_negative: see ``losses``.
        text_weight: see ``losses``.
        row_D: the ``<CALL>`` row, if it is trained without the rest of the head; it replaces the
            last row of ``head_VD``.
        undecided_N: mask of rows with a role that depends on the losses; None if all are known.
        decide: called once with all losses; returns the final ``call_N`` and ``ignore_N``, which
            must equal the given masks outside ``undecided_N``.
        text_scale: see ``losses``.
    """
    plan = _Plan(
        targets_N, call_N, ignore_N, undecided_N, decide, call_negative, text_weight, text_scale
    )
    return FusedLoss(*_Fused.apply(hidden_ND, head_VD, row_D, plan))


@dataclass(slots=True)
class _Plan:
    targets_N: Tensor
    call_N: Tensor
    ignore_N: Tensor
    undecided_N: Tensor | None
    decide: Decide | None
    call_negative: CallNegative
    text_weight: float
    text_scale: float


class _Fused(torch.autograd.Function):
    """Computes the gradients in the forward pass and scales them in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, head_VD: Tensor, row_D: Tensor | None, plan: _Plan
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        engine = _Engine(hidden_ND, head_VD, plan.targets_N, plan.call_negative, row_D)
        engine.want_gradients(*ctx.needs_input_grad[:3])
        valid_N = plan.targets_N >= 0
        engine.text_weight, engine.text_scale = plan.text_weight, plan.text_scale
        parts = torch.zeros(3, dtype=engine.accumulate_dtype, device=hidden_ND.device)
        loss_N = torch.zeros(
            plan.targets_N.shape, dtype=engine.accumulate_dtype, device=hidden_ND.device
        )
        call_N, ignore_N = plan.call_N, plan.ignore_N
        waiting = [] if plan.undecided_N is None else engine.chunks(plan.undecided_N & valid_N)
        certain_N = valid_N if plan.undecided_N is None else valid_N & ~plan.undecided_N

        for rows_n in engine.chunks(certain_N):
            probs_nV, seen = engine.forward(rows_n)
            loss_N[rows_n] = seen.text_n
            parts += engine.finish(rows_n, probs_nV, seen, call_N, ignore_N)
        kept: list[tuple[Tensor | None, RowScores]] = []
        for rows_n in waiting:
            space_nV = engine.space_to_keep(rows_n)
            _, seen = engine.forward(rows_n, space_nV)
            loss_N[rows_n] = seen.text_n
            kept.append((space_nV, seen))
        if plan.decide is not None:
            call_N, ignore_N = plan.decide(loss_N)
        for rows_n, (saved_nV, seen) in zip(waiting, kept, strict=True):
            probs_nV = engine.forward(rows_n)[0] if saved_nV is None else saved_nV
            parts += engine.finish(rows_n, probs_nV, seen, call_N, ignore_N)

        scale = 1.0 / valid_N.sum().clamp(min=1).to(engine.accumulate_dtype)
        ctx.save_for_backward(engine.grad_hidden_ND, engine.grad_head_VD, engine.grad_row_D, scale)
        ctx.types = hidden_ND.dtype, head_VD.dtype, None if row_D is None else row_D.dtype
        parts *= scale
        # Copy, so that no output is the same tensor as one of the inputs.
        call_N, ignore_N = call_N & valid_N, ignore_N & valid_N & ~call_N
        ctx.mark_non_differentiable(parts, loss_N, call_N, ignore_N)
        return parts.sum(), parts, loss_N, call_N, ignore_N

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: the result would silently lack a gradient
            raise RuntimeError("second-order gradients need impl='reference'")
        *gradients, scale = ctx.saved_tensors
        factor = grad * scale  # last, so that 1/N does not underflow in a 16-bit dtype
        scaled = (
            None if gradient is None else (gradient * factor).to(dtype)
            for gradient, dtype in zip(gradients, ctx.types, strict=True)
        )
        return (*scaled, None)


class _Engine:
    """Runs chunks of rows through the head and accumulates their gradients."""

    def __init__(
        self,
        hidden_ND: Tensor,
        head_VD: Tensor,
        targets_N: Tensor,
        call_negative: CallNegative,
        row_D: Tensor | None = None,
    ) -> None:
        device = hidden_ND.device.type
        compute_dtype = hidden_ND.dtype
        if torch.is_autocast_enabled(device):
            compute_dtype = torch.get_autocast_dtype(device)
        self.hidden_ND, self.targets_N = hidden_ND, targets_N
        self.head_VD = head_VD.to(compute_dtype)
        self.row_D = None if row_D is None else row_D.to(compute_dtype)
        self.compute_dtype = compute_dtype
        """Dtype of the matrix products; everything else uses ``accumulate_dtype``."""
        self.accumulate_dtype = torch.promote_types(compute_dtype, torch.float32)
        self.call_negative = call_negative
        self.text_weight, self.text_scale = 0.0, 1.0
        self.rows = min(chunk_rows(head_VD), max(1, len(targets_N)))
        self.free_bytes = _budget(KEEP_BYTES, head_VD)
        self.grad_hidden_ND: Tensor | None = None
        self.grad_head_VD: Tensor | None = None
        self.grad_row_D: Tensor | None = None
        full = (self.rows, head_VD.shape[0])
        self._logits_nV = torch.empty(full, dtype=self.accumulate_dtype, device=hidden_ND.device)
        self._probs_nV = torch.empty_like(self._logits_nV)

    def want_gradients(self, hidden: bool, head: bool, row: bool) -> None:
        """Allocate the gradients that are needed."""
        if hidden:
            self.grad_hidden_ND = torch.zeros_like(self.hidden_ND, dtype=self.accumulate_dtype)
        if head:
            self.grad_head_VD = torch.zeros_like(self.head_VD, dtype=self.accumulate_dtype)
        if row:
            self.grad_row_D = torch.zeros_like(self.head_VD[-1], dtype=self.accumulate_dtype)

    def chunks(self, which_N: Tensor) -> list[Tensor]:
        """Return the indices of the rows in a mask, in chunks; synchronizes with the device."""
        index_N = which_N.nonzero()[:, 0]
        return list(index_N.split(self.rows)) if index_N.numel() else []

    def space_to_keep(self, rows_n: Tensor) -> Tensor | None:
        """Allocate memory for the probabilities of some rows, or return None at the limit."""
        size = rows_n.numel() * self.head_VD.shape[0] * self._probs_nV.element_size()
        if size > self.free_bytes:
            return None
        self.free_bytes -= size
        return self._probs_nV.new_empty((rows_n.numel(), self.head_VD.shape[0]))

    def forward(self, rows_n: Tensor, out_nV: Tensor | None = None) -> tuple[Tensor, RowScores]:
        """Return the probabilities of the text vocabulary (0 for ``<CALL>``) and the rows' scores.

        Probabilities are written to ``out_nV`` or to a buffer that the next call overwrites.
        """
        hidden_nD = self.hidden_ND[rows_n].to(self.compute_dtype)
        logits_nV = self._logits_nV[: rows_n.numel()]
        probs_nV = self._probs_nV[: rows_n.numel()] if out_nV is None else out_nV
        if self.compute_dtype == self.accumulate_dtype:
            torch.mm(hidden_nD, self.head_VD.T, out=logits_nV)
        else:
            logits_nV.copy_(hidden_nD @ self.head_VD.T)
        call_n = logits_nV[:, -1].clone()
        if self.row_D is not None:
            call_n = (hidden_nD @ self.row_D).to(self.accumulate_dtype)
        logits_nV[:, -1] = -torch.inf
        at_target_n = logits_nV.gather(1, self.targets_N[rows_n][:, None])[:, 0]
        highest_n = logits_nV.amax(1)
        torch.softmax(logits_nV, 1, out=probs_nV)
        # The highest probability is exp(highest - lse) >= 1/V, so taking its log loses no
        # precision.
        lse_n = highest_n - probs_nV.amax(1).log()
        gate_n = call_n if self.call_negative == "sigmoid" else call_n - lse_n
        return probs_nV, RowScores(lse_n - at_target_n, gate_n)

    def finish(
        self, rows_n: Tensor, probs_nV: Tensor, seen: RowScores, call_N: Tensor, ignore_N: Tensor
    ) -> Tensor:
        """Add the gradients of a chunk and return its summed losses; overwrites ``probs_nV``."""
        call_n, ignore_n = call_N[rows_n], ignore_N[rows_n]
        terms = row_terms(
            seen, call_n, ignore_n, self.call_negative, self.text_weight, self.text_scale
        )
        if self.grad_hidden_ND is None and self.grad_head_VD is None and self.grad_row_D is None:
            return terms.sums
        grad_nV = probs_nV.mul_(terms.spread_n[:, None])
        grad_nV.scatter_add_(1, self.targets_N[rows_n][:, None], -terms.weight_n[:, None])
        grad_nV[:, -1] = 0.0 if self.row_D is not None else terms.call_n
        grad_nV = grad_nV.to(self.compute_dtype)
        if self.grad_hidden_ND is not None:
            grad_nD = (grad_nV @ self.head_VD).to(self.accumulate_dtype)
            if self.row_D is not None:
                grad_nD += terms.call_n[:, None] * self.row_D
            self.grad_hidden_ND[rows_n] = grad_nD
        if self.grad_row_D is not None:
            self.grad_row_D += terms.call_n @ self.hidden_ND[rows_n].to(self.accumulate_dtype)
        if self.grad_head_VD is not None:
            hidden_nD = self.hidden_ND[rows_n].to(self.compute_dtype)
            if self.compute_dtype == self.accumulate_dtype:
                self.grad_head_VD.addmm_(grad_nV.T, hidden_nD)
            else:
                self.grad_head_VD += grad_nV.T @ hidden_nD
        return terms.sums


def row_terms(
    seen: RowScores,
    call_n: Tensor,
    ignore_n: Tensor,
    call_negative: CallNegative,
    text_weight: float,
    text_scale: float = 1.0,
) -> Terms:
    """Return losses and gradient factors of rows with a target (see the module docstring).

    Uses ``torch.where`` instead of products with 0, because an infinite gate logit times 0 would be
    NaN where the gate is not part of the loss.
    """
    gate_n, zero = seen.gate_n, torch.zeros_like(seen.gate_n)
    text_target_n = ~call_n & ~ignore_n
    weight_n = text_target_n.to(zero.dtype) + text_weight * call_n.to(zero.dtype)
    weight_n = text_scale * weight_n
    text_n = torch.where(weight_n != 0, weight_n * seen.text_n, zero)
    called_n = torch.where(call_n, -F.logsigmoid(gate_n), zero)
    pull_n = torch.where(call_n, -torch.sigmoid(-gate_n), zero)
    if call_negative == "none":
        negative_n = zero
    else:
        negative_n = torch.where(text_target_n, -F.logsigmoid(-gate_n), zero)
        pull_n = pull_n + torch.where(text_target_n, torch.sigmoid(gate_n), zero)
    sums = torch.stack((text_n.sum(), called_n.sum(), negative_n.sum()))
    spread_n = weight_n if call_negative == "sigmoid" else weight_n - pull_n
    return Terms(sums, spread_n, weight_n, pull_n)
