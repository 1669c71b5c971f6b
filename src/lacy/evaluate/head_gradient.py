"""The share of the gradient's norm that a head lets through to the rest of the model.

Godey and Artzi (arXiv 2603.10145): the gradient ``g`` of the loss by a token's logits has as many
dimensions as the vocabulary, and the body of the model receives ``W.T @ g``. Whatever of ``g`` is
orthogonal to the columns of the head ``W`` (V, D) is lost. With ``P`` the projection onto the span
of these columns,

    kept = ||P g|| / ||g||,    lost = ||g - P g|| / ||g||,    kept^2 + lost^2 = 1.

Norms are Frobenius norms over the tokens of a group. A random direction keeps ``sqrt(rank / V)``.
``P`` is computed from an orthonormal basis of the columns in float64, so it does not depend on the
scale or the conditioning of ``W``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lacy.evaluate.head_spectrum import CHUNK, Axes, numerical_rank, principal_axes
from lacy.model import Gate, TextHead

MAX_LOGITS = 1 << 23
"""Logits that are computed at once (32 MiB in float32)."""

LossKind = Literal["text", "call"]
"""``text``: the loss of the true token, by the logits of all text tokens. ``call``: the loss that
teaches to call, by all logits; where the model calls, the target is ``<CALL>`` instead."""


@dataclass(frozen=True, slots=True)
class GradientEnergy:
    """Squared norms of the gradient by the logits, one per token."""

    total_N: Tensor
    kept_N: Tensor
    """Of what the head lets through."""
    loss_N: Tensor
    """The loss whose gradient it is, in nats."""


@torch.no_grad()
def column_basis(weight_VD: Tensor, axes: Axes | None = None) -> Tensor:
    """Return an orthonormal basis of a head's columns, ``[V, rank]`` in float32.

    Args:
        weight_VD: the head.
        axes: its ``principal_axes``, if they are known.
    """
    values_D, axes_DD = principal_axes(weight_VD) if axes is None else axes
    rank = numerical_rank(values_D)
    scaled_DR = axes_DD[:, :rank] / values_D[:rank]
    chunk = max(1, CHUNK // weight_VD.shape[1])
    return torch.cat([(rows.double() @ scaled_DR).float() for rows in weight_VD.split(chunk)])


def text_gradients(
    head: TextHead, hidden_ND: Tensor, target_N: Tensor, axes: Axes | None = None
) -> GradientEnergy:
    """Measure the loss of the true token by the logits of text tokens.

    Args:
        head: a head without the row of ``<CALL>`` (``TextHead.text_rows``).
        hidden_ND: states before the head.
        target_N: true tokens.
        axes: ``principal_axes`` of the head, if they are known.
    """
    basis_VR = column_basis(head.weight_VD, axes)
    return _energies(head, basis_VR, hidden_ND, target_N, None, "softmax")


def call_gradients(
    head: TextHead, hidden_ND: Tensor, target_N: Tensor, called_N: Tensor, gate: Gate
) -> GradientEnergy:
    """Measure the loss that teaches to call, by all logits.

    Args:
        head: a head whose last row is ``<CALL>``.
        hidden_ND: states before the head.
        target_N: true tokens.
        called_N: True where the target is ``<CALL>`` instead of the true token.
        gate: ``softmax``: one distribution over all tokens; ``sigmoid``: the text tokens have one
            of their own, and ``<CALL>`` is a separate binary decision.
    """
    basis_VR = column_basis(head.weight_VD)
    return _energies(head, basis_VR, hidden_ND, target_N, called_N, gate)


@torch.no_grad()
def _energies(
    head: TextHead,
    basis_VR: Tensor,
    hidden_ND: Tensor,
    target_N: Tensor,
    called_N: Tensor | None,
    gate: Gate,
) -> GradientEnergy:
    rows = max(1, MAX_LOGITS // len(head.weight_VD))
    device = head.weight_VD.device
    parts = []
    for begin in range(0, len(hidden_ND), rows):
        chunk = slice(begin, begin + rows)
        logits_NV = head.logits(hidden_ND[chunk].to(device))
        called = None if called_N is None else called_N[chunk].to(device)
        loss_N, gradient_NV = loss_gradient(logits_NV, target_N[chunk].to(device), called, gate)
        gradient_NV *= head.slope(logits_NV)
        kept_N = (gradient_NV @ basis_VR).double().square().sum(1)
        total_N = gradient_NV.square().sum(1, dtype=torch.float64)
        parts.append(torch.stack([total_N, kept_N, loss_N.double()]).cpu())
    total, kept, loss = torch.cat(parts, 1)
    return GradientEnergy(total, torch.minimum(kept, total), loss)


def loss_gradient(
    logits_NV: Tensor, target_N: Tensor, called_N: Tensor | None = None, gate: Gate = "softmax"
) -> tuple[Tensor, Tensor]:
    """Return the loss of each token and its gradient by the logits.

    Args:
        logits_NV: logits of text tokens; with ``called_N``, followed by the logit of ``<CALL>``.
        target_N: true tokens.
        called_N: True where the target is ``<CALL>``; None for the loss of text alone.
        gate: how the logit of ``<CALL>`` becomes a probability.
    """
    if called_N is None:
        return _cross_entropy(logits_NV, target_N)
    call_id = logits_NV.shape[1] - 1
    if gate == "softmax":
        return _cross_entropy(logits_NV, torch.where(called_N, call_id, target_N))
    loss_N, text_NV = _cross_entropy(logits_NV[:, :-1], target_N)
    text_NV[called_N] = 0
    sign_N = torch.where(called_N, 1.0, -1.0)
    gate_N = logits_NV[:, -1]
    gate_loss_N = -torch.nn.functional.logsigmoid(sign_N * gate_N)
    slope_N = -sign_N * torch.sigmoid(-sign_N * gate_N)
    loss_N = torch.where(called_N, 0.0, loss_N) + gate_loss_N
    return loss_N, torch.cat([text_NV, slope_N[:, None]], 1)


def _cross_entropy(logits_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    logp_NV = torch.log_softmax(logits_NV, -1)
    own_N1 = logp_NV.gather(1, target_N[:, None])
    gradient_NV = logp_NV.exp()
    # p - 1 as such would lose all digits where the model is sure.
    gradient_NV.scatter_(1, target_N[:, None], torch.expm1(own_N1))
    return -own_N1[:, 0], gradient_NV
