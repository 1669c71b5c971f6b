"""What a model would lose with a head of lower rank.

Godey et al. (arXiv 2404.07647) replace the head ``W`` (V, D) of a frozen model by a trained one
of rank r, ``W = A B`` with ``A`` (V, r) and ``B`` (r, D), and find the rank below which the loss
rises. They train on some 150 million tokens; here A and B are trained on a few thousand, so they
start from the best approximation of the model's own head:

- ``cut`` keeps the r largest singular values of ``W``, without any training;
- ``fitted`` has the least squared error of the logits on the texts of the fit: the r largest
  singular values of ``W S^(1/2)``, where ``S`` is the mean of ``h h.T``. States lie in few of the
  directions that ``W`` reads, so it is much better than ``cut``, and as cheap;
- ``trained`` starts from it, and trains A and B by Adam; when the loss on other texts stops
  falling, the rate falls.

A trained head adapts to the texts. Its loss is therefore compared with a trained head of full rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lacy.evaluate.head_gradient import MAX_LOGITS
from lacy.evaluate.head_spectrum import Axes, gram, principal_axes
from lacy.model import TextHead

LEARNING_RATE = 3e-2
"""Of Adam, relative to the root mean square of each factor."""

DECAYS = 3
"""How often the rate is divided by ``DECAY`` when the loss on other texts stops falling."""

DECAY = 4.0

BATCH = 256
"""Tokens per step, fewer for a very large vocabulary."""

EPOCHS = 20
"""Maximum passes over the texts."""

SHRINK = 1e-4
"""Share of the mean variance that is added to the variance of every direction of the states, so
that directions without any do not divide by zero."""


@dataclass
class LowRankHead:
    """A head whose matrix is ``left_VR @ right_RD``; bias, scale and cap are those of ``full``."""

    full: TextHead
    left_VR: Tensor
    right_RD: Tensor

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return the logits of hidden states, ``[N, V]``."""
        output_NV = torch.nn.functional.linear(
            hidden_ND @ self.right_RD.T, self.left_VR, self.full.bias_V
        )
        return self.full.finish(output_NV)


@dataclass(frozen=True)
class Targets:
    """Hidden states before a head, and the tokens that follow."""

    hidden_ND: Tensor
    target_N: Tensor

    def __len__(self) -> int:
        return len(self.target_N)


def cut_head(head: TextHead, rank: int, axes: Axes | None = None) -> LowRankHead:
    """Return the best approximation of a head's matrix (Eckart and Young 1936).

    Args:
        head: a head without the row of ``<CALL>``.
        rank: at most the hidden size.
        axes: ``principal_axes`` of the head, if they are known.
    """
    _, axes_DD = principal_axes(head.weight_VD) if axes is None else axes
    kept_DR = axes_DD[:, :rank].float()
    return LowRankHead(head, head.weight_VD @ kept_DR, kept_DR.T.contiguous())


@torch.no_grad()
def best_on_states(head: TextHead, hidden_ND: Tensor, rank: int) -> LowRankHead:
    """Return the head of this rank whose logits have the least squared error on given states.

    The states times ``right_RD`` are uncorrelated with variance 1, which makes training easy.
    """
    moment_DD = gram(hidden_ND) / len(hidden_ND)
    moment_DD += torch.eye(len(moment_DD)) * SHRINK * moment_DD.diagonal().mean()
    variance_D, axes_DD = torch.linalg.eigh(moment_DD)
    root_DD = (axes_DD * variance_D.sqrt()) @ axes_DD.T
    inverse_DD = (axes_DD / variance_D.sqrt()) @ axes_DD.T
    square_DD = root_DD @ gram(head.weight_VD).cpu() @ root_DD
    kept_DR = torch.linalg.eigh(square_DD)[1].flip(1)[:, :rank]
    device = head.weight_VD.device
    left_VR = head.weight_VD @ (root_DD @ kept_DR).float().to(device)
    return LowRankHead(head, left_VR, (kept_DR.T @ inverse_DD).float().to(device))


def train_head(
    head: TextHead,
    rank: int,
    fit: Targets,
    stop: Targets,
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    bf16: bool = False,
) -> tuple[LowRankHead, int]:
    """Train a head of low rank on cached states.

    Args:
        head: the model's head without the row of ``<CALL>``.
        rank: at most the hidden size.
        fit: what to train on.
        stop: when the loss on this stops falling, training goes on from the best head with a lower
            rate, and ends after ``DECAYS`` times; the best head is returned.
        seed: seed of the order of tokens.
        epochs: maximum passes over ``fit``.
        bf16: compute the logits of the training in bfloat16; losses are measured in float32.

    Returns:
        The head, and the pass after which it was best (0: no training helped).
    """
    best = best_on_states(head, fit.hidden_ND, rank)
    factors = [best.left_VR.clone().requires_grad_(), best.right_RD.clone().requires_grad_()]
    low = LowRankHead(head, *factors)
    rates = [LEARNING_RATE * float(f.detach().square().mean().sqrt()) for f in factors]
    optimizer = torch.optim.Adam(
        [{"params": [f], "lr": rate} for f, rate in zip(factors, rates, strict=True)]
    )
    generator = torch.Generator().manual_seed(seed)
    best_epoch, decays, least = 0, 0, float(losses(best, stop).mean())
    for epoch in range(1, epochs + 1):
        for rows in torch.randperm(len(fit), generator=generator).split(_batch(head)):
            hidden, target = _on(head, fit.hidden_ND[rows], fit.target_N[rows])
            with torch.autocast(hidden.device.type, torch.bfloat16, enabled=bf16):
                logits_NV = low.logits(hidden)
            loss = torch.nn.functional.cross_entropy(logits_NV.float(), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found = float(losses(low, stop).mean())
        if found < least:
            least, best_epoch = found, epoch
            best = LowRankHead(head, *(factor.detach().clone() for factor in factors))
            continue
        if decays == DECAYS:
            break
        decays += 1
        with torch.no_grad():  # on from the best head, more carefully
            low.left_VR.copy_(best.left_VR)
            low.right_RD.copy_(best.right_RD)
        for group in optimizer.param_groups:
            group["lr"] /= DECAY
    return best, best_epoch


@torch.no_grad()
def losses(head: TextHead | LowRankHead, of: Targets) -> Tensor:
    """Return the loss of each token in nats, on the CPU."""
    full = head.full if isinstance(head, LowRankHead) else head
    parts = []
    for hidden, target in _chunks(full, of):
        logits_NV = head.logits(hidden)
        parts.append(torch.nn.functional.cross_entropy(logits_NV, target, reduction="none").cpu())
    return torch.cat(parts) if parts else torch.zeros(0)


def _chunks(head: TextHead, of: Targets) -> Iterator[tuple[Tensor, Tensor]]:
    rows = max(1, MAX_LOGITS // len(head.weight_VD))
    for begin in range(0, len(of), rows):
        chunk = slice(begin, begin + rows)
        yield _on(head, of.hidden_ND[chunk], of.target_N[chunk])


def _batch(head: TextHead) -> int:
    return max(1, min(BATCH, 2 * MAX_LOGITS // len(head.weight_VD)))


def _on(head: TextHead, hidden_ND: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    device = head.weight_VD.device
    return hidden_ND.to(device), target_N.to(device)
