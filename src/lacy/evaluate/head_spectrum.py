"""The singular values of a model's head, and how many dimensions it uses.

Godey et al. (arXiv 2404.07647, on the saturation of singular values) compare the singular values
of the head, divided by their sum, with the uniform distribution: their Kullback-Leibler divergence,
the singular entropy, rises where a few directions take over. With ``H`` the entropy of that
distribution, it is ``log D - H``; ``exp(H)`` is the effective rank (Roy and Vetterli 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 1 << 22
"""Numbers of the head that are converted to float64 at once (32 MiB)."""

RANK_TOLERANCE = 1e-6
"""Singular values below this share of the largest one are rounding errors of float32."""

Floats = NDArray[np.float64]
Axes = tuple[Tensor, Tensor]
"""Singular values and right singular vectors of a head (``principal_axes``)."""


@dataclass(frozen=True)
class HeadSpectrum:
    """The singular values of a head without the row of ``<CALL>``."""

    values: tuple[float, ...]
    """Singular values, the largest first; as many as the hidden size."""
    hidden_size: int
    vocabulary: int
    """Rows of the head without ``<CALL>``."""
    rank: int
    """Number of singular values that are not rounding errors."""
    entropy: float
    """Entropy of the singular values divided by their sum, in nats."""
    singular_entropy: float
    """Divergence from the uniform distribution over ``min(hidden size, vocabulary)`` values, in
    nats; 0 if all singular values are equal."""
    effective_rank: float
    """``exp(entropy)``."""
    stable_rank: float
    """Sum of squares of the singular values, divided by the largest square."""
    rank_90: int
    """Number of singular values that have 90% of the sum of squares."""
    rank_99: int
    """The same with 99%."""


def gram(weight_VD: Tensor) -> Tensor:
    """Return ``weight.T @ weight`` in float64, a chunk of rows at a time."""
    size = weight_VD.shape[1]
    gram_DD = torch.zeros(size, size, dtype=torch.float64, device=weight_VD.device)
    for rows_CD in weight_VD.split(max(1, CHUNK // size)):
        rows_CD = rows_CD.double()
        gram_DD += rows_CD.T @ rows_CD
    return gram_DD


@torch.no_grad()
def principal_axes(weight_VD: Tensor) -> Axes:
    """Return the singular values of a head, and its right singular vectors as columns (float64).

    Both come from the eigenvalues of ``weight.T @ weight``, which are exact to about 1e-16 of the
    largest; singular values are therefore exact to 1e-8 of the largest, less than what float32
    weights resolve. The largest comes first.
    """
    squares_D, axes_DD = torch.linalg.eigh(gram(weight_VD))
    return squares_D.clamp(min=0).sqrt().flip(0), axes_DD.flip(1)


def numerical_rank(values_D: Tensor) -> int:
    """Return the number of singular values that are not rounding errors."""
    return int((values_D > RANK_TOLERANCE * values_D[0]).sum()) if len(values_D) else 0


def head_spectrum(weight_VD: Tensor, axes: Axes | None = None) -> HeadSpectrum:
    """Return the spectrum of a head, and what follows from it.

    Args:
        weight_VD: rows of the text tokens.
        axes: ``principal_axes`` of the head, if they are known.
    """
    values_D, _ = principal_axes(weight_VD) if axes is None else axes
    values: Floats = values_D.cpu().numpy()
    return spectrum_of(values, len(weight_VD))


def spectrum_of(values_D: Floats, vocabulary: int) -> HeadSpectrum:
    """Return what follows from singular values, the largest first.

    Args:
        values_D: as many as the hidden size.
        vocabulary: number of rows of the head.
    """
    size = len(values_D)
    shares = values_D / values_D.sum()
    positive = shares[shares > 0]
    entropy = float(-(positive * np.log(positive)).sum())
    squares = np.cumsum(values_D**2) / np.sum(values_D**2)
    return HeadSpectrum(
        values=tuple(float(value) for value in values_D),
        hidden_size=size,
        vocabulary=vocabulary,
        rank=numerical_rank(torch.from_numpy(np.ascontiguousarray(values_D))),
        entropy=entropy,
        singular_entropy=float(np.log(min(size, vocabulary)) - entropy),
        effective_rank=float(np.exp(entropy)),
        stable_rank=float(np.sum(values_D**2) / values_D[0] ** 2),
        rank_90=_needed(squares, 0.9),
        rank_99=_needed(squares, 0.99),
    )


def _needed(cumulative_D: Floats, share: float) -> int:
    """Return the first count whose cumulative share reaches ``share``."""
    return min(int(np.searchsorted(cumulative_D, share - 1e-12)) + 1, len(cumulative_D))
