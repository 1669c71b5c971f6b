r"""Compute divergences between a teacher's and a student's predictions, chunk by chunk.

Let q be the teacher's softmax and p the student's, both at temperature T and without ``<CALL>``.
Hinton et al. (arXiv 1503.02531, §2) minimise ``T^2 KL(q || p)``; the factor keeps the size of the
gradient when T changes. Agarwal et al. (arXiv 2306.13649, §3) add ``KL(p || q)`` and the
Jensen-Shannon divergence.

A stored teacher knows only the probabilities of its k likeliest tokens and the rest of the mass.
Then p is reduced to the same k + 1 classes. By the data processing inequality, this divergence is
at most the full one: nothing is said about how the rest is spread, and its gradient leaves the
student's own proportions within the rest as they are.

As in ``lacy.objective``, a chunk of rows goes through the head, becomes a gradient at once, and its
memory is reused, so that no logits of a whole batch exist. With G the derivative of the divergence
by the logs of the k + 1 (or all) probabilities, the gradient of a logit is

- ``G_i - p_i sum(G)`` for a token that is a class of its own, and
- ``G_rest p_i / p_rest - p_i sum(G)`` for a token in the rest.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lacy.distill.settings import Divergence
from lacy.objective import chunk_rows


class RowPredictions(NamedTuple):
    """A teacher's predictions for the rows of a chunk."""

    logq_nM: Tensor
    """Log-probabilities: of all text tokens, or of k tokens and, in the last column, of the rest;
    float32 or float64."""
    ids_nK: Tensor | None = None
    """The k tokens; None if all tokens are there."""


class Predictions(Protocol):
    """A teacher's predictions for all rows of a batch, in flattened order."""

    def chunk(self, rows_n: Tensor) -> RowPredictions:
        """Return the predictions for some rows."""
        ...


def reduce_to_top(logp_nV: Tensor, ids_nK: Tensor) -> Tensor:
    """Return the log-probabilities of k tokens and, in the last column, of all others together."""
    top_nK = logp_nV.gather(1, ids_nK)
    rest_n = logp_nV.scatter(1, ids_nK, -torch.inf).logsumexp(1)
    return torch.cat((top_nK, rest_n[:, None]), 1)


def divergence_by_class(
    logq_nM: Tensor, logp_nM: Tensor, kind: Divergence
) -> tuple[Tensor, Tensor]:
    """Return the divergence of each row and its derivative by the student's log-probabilities.

    The derivative treats the log-probabilities as independent; terms that a softmax cancels are
    left out.

    Args:
        logq_nM: the teacher's log-probabilities of M classes.
        logp_nM: the student's.
        kind: the divergence.
    """
    if kind == "forward":
        q_nM = logq_nM.exp()
        return _weighted(q_nM, logq_nM - logp_nM).sum(1), -q_nM
    p_nM = logp_nM.exp()
    if kind == "reverse":
        terms_nM = _weighted(p_nM, logp_nM - logq_nM)
        return terms_nM.sum(1), terms_nM
    logm_nM = torch.logaddexp(logq_nM, logp_nM) - math.log(2)
    student_nM = 0.5 * _weighted(p_nM, logp_nM - logm_nM)
    teacher_nM = 0.5 * _weighted(logq_nM.exp(), logq_nM - logm_nM)
    return (student_nM + teacher_nM).sum(1), student_nM


def _weighted(weight_nM: Tensor, log_nM: Tensor) -> Tensor:
    """Return the product, 0 where the weight is 0, whatever the logarithm is."""
    return torch.where(weight_nM > 0, weight_nM * log_nM, 0.0)


def divergence_reference(
    logits_NV: Tensor, teacher: RowPredictions, kind: Divergence, temperature: float
) -> Tensor:
    """Return ``T^2`` times the divergence of every row by the formula, for autograd.

    Args:
        logits_NV: the student's logits of text tokens.
        teacher: its predictions for all rows, at the same temperature.
        kind: the divergence.
        temperature: T.
    """
    logp_NM = torch.log_softmax(logits_NV / temperature, -1)
    if teacher.ids_nK is not None:
        logp_NM = reduce_to_top(logp_NM, teacher.ids_nK)
    logq_NM = teacher.logq_nM
    p_NM, q_NM = logp_NM.exp(), logq_NM.exp()
    if kind == "forward":
        found_N = (q_NM * (logq_NM - logp_NM)).sum(-1)
    elif kind == "reverse":
        found_N = (p_NM * (logp_NM - logq_NM)).sum(-1)
    else:
        logm_NM = ((p_NM + q_NM) / 2).log()
        found_N = (q_NM * (logq_NM - logm_NM) + p_NM * (logp_NM - logm_NM)).sum(-1) / 2
    return temperature**2 * found_N


@torch.compiler.disable
def divergence(
    hidden_ND: Tensor,
    head_VD: Tensor,
    teacher: Predictions,
    weight_N: Tensor,
    *,
    kind: Divergence = "forward",
    temperature: float = 1.0,
) -> Tensor:
    """Return the weighted sum of ``T^2`` times the divergence over rows, with gradient.

    Args:
        hidden_ND: inputs of the student's head.
        head_VD: one row per token, ``<CALL>`` last; its last row gets no gradient.
        teacher: its predictions at the same temperature.
        weight_N: weight of each row; rows with 0 do not go through the head.
        kind: the divergence.
        temperature: T.

    Returns:
        A scalar in float32 (float64 for float64 inputs).
    """
    found: Tensor = _Divergence.apply(hidden_ND, head_VD, teacher, weight_N, kind, temperature)
    return found


class _Divergence(torch.autograd.Function):
    """Computes the gradients in the forward pass and scales them in the backward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        head_VD: Tensor,
        teacher: Predictions,
        weight_N: Tensor,
        kind: Divergence,
        temperature: float,
    ) -> Tensor:
        exact = torch.promote_types(hidden_ND.dtype, torch.float32)
        text_VD = head_VD[:-1]
        total = torch.zeros((), dtype=exact, device=hidden_ND.device)
        wants_hidden, wants_head = ctx.needs_input_grad[:2]
        grad_ND = torch.zeros_like(hidden_ND, dtype=exact) if wants_hidden else None
        grad_VD = torch.zeros_like(head_VD, dtype=exact) if wants_head else None
        for rows_n in weight_N.nonzero()[:, 0].split(chunk_rows(head_VD)):
            hidden_nD, weight_n = hidden_ND[rows_n], weight_N[rows_n].to(exact)
            logp_nV = torch.log_softmax((hidden_nD @ text_VD.T).to(exact) / temperature, 1)
            value_n, grad_nV = _chunk_gradient(logp_nV, teacher.chunk(rows_n), kind)
            total += temperature**2 * (weight_n * value_n).sum()
            # T^2 of the loss times 1/T of the logits
            grad_nV = (grad_nV * (temperature * weight_n)[:, None]).to(hidden_ND.dtype)
            if grad_ND is not None:
                grad_ND[rows_n] = (grad_nV @ text_VD).to(exact)
            if grad_VD is not None:
                if grad_VD.dtype == hidden_nD.dtype:
                    grad_VD[:-1].addmm_(grad_nV.T, hidden_nD)
                else:
                    grad_VD[:-1] += grad_nV.T @ hidden_nD
        ctx.save_for_backward(grad_ND, grad_VD)
        ctx.types = hidden_ND.dtype, head_VD.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # create_graph=True: a part of the gradient would be missing
            raise RuntimeError("second-order gradients need divergence_reference")
        scaled = [
            None if found is None else (found * grad).to(dtype)
            for found, dtype in zip(ctx.saved_tensors, ctx.types, strict=True)
        ]
        return (*scaled, None, None, None, None)


def _chunk_gradient(
    logp_nV: Tensor, teacher: RowPredictions, kind: Divergence
) -> tuple[Tensor, Tensor]:
    """Return the divergence of each row and its gradient by the logits at temperature 1."""
    ids_nK, logq_nM = teacher.ids_nK, teacher.logq_nM.to(logp_nV)
    if ids_nK is None:
        value_n, by_class_nV = divergence_by_class(logq_nM, logp_nV, kind)
        grad_nV = by_class_nV - logp_nV.exp() * by_class_nV.sum(1, keepdim=True)
        return value_n, grad_nV
    logp_nM = reduce_to_top(logp_nV, ids_nK)
    value_n, by_class_nM = divergence_by_class(logq_nM, logp_nM, kind)
    shared_n1 = by_class_nM.sum(1, keepdim=True)
    in_rest_nV = (logp_nV - logp_nM[:, -1:]).exp() * by_class_nM[:, -1:]
    top_nK = by_class_nM[:, :-1] - logp_nM[:, :-1].exp() * shared_n1
    return value_n, (in_rest_nV - logp_nV.exp() * shared_n1).scatter(1, ids_nK, top_nK)
