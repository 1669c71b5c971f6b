"""Replace the columns of a matrix one by one; the remaining columns make up for the error.

The method of Optimal Brain Surgeon for one layer, as in GPTQ (Frantar et al., arXiv 2210.17323,
section 3.3, algorithm 1) and SparseGPT (arXiv 2301.00774, section 3.2). Once a column is replaced,
it is fixed, and the least-squares optimal update of the later columns depends only on the Hessian.
One Cholesky factor of the inverse Hessian contains all updates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

DAMPING = 0.01
"""Share of the mean diagonal that is added to the diagonal (GPTQ, section 3.3)."""


class Choose(Protocol):
    """Chooses new values for the columns of one group."""

    def __call__(
        self, columns_B: Tensor, weight_OB: Tensor, pivot_B: Tensor
    ) -> Callable[[int, Tensor], Tensor]:
        """Prepare a group, and return a function that chooses the values of its columns.

        Args:
            columns_B: numbers of the group's columns in the matrix, in the order in which they are
                replaced.
            weight_OB: their current weights, which include all updates by earlier groups.
            pivot_B: ``p`` of each column: replacing ``w`` by ``q`` costs ``((w - q) / p) ** 2`` if
                all later columns adapt. SparseGPT chooses by it which weights to remove.

        Returns:
            A function of a position in the group and the current weights of its column (O), which
            include updates by earlier columns of the group. It returns the new values (O).
        """
        ...


def solve_columns(
    weight_OI: Tensor,
    hessian_II: Tensor,
    choose: Choose,
    *,
    group: int = 32,
    damping: float = DAMPING,
    order_I: Tensor | None = None,
) -> Tensor:
    """Return a matrix of chosen values that changes the layer's output as little as possible.

    Args:
        weight_OI: the weights.
        hessian_II: sum of ``x @ x.T`` over the layer's inputs (``InputStatistics.hessian_II``).
        choose: chooses the new values, for example the nearest ones on a grid.
        group: number of columns that ``choose`` prepares together. Later groups are updated once
            per group.
        damping: share of the mean diagonal of the Hessian that is added to its diagonal.
        order_I: order in which columns are replaced; by default from left to right.

    Returns:
        The new weights, in the dtype of ``weight_OI``.
    """
    size = weight_OI.shape[1]
    order_I = torch.arange(size, device=weight_OI.device) if order_I is None else order_I
    factor_II = inverse_factor(hessian_II[order_I][:, order_I], damping)
    work_OI = weight_OI.double()[:, order_I]
    for begin in range(0, size, group):
        end = min(begin + group, size)
        block_OB, upper_BB = work_OI[:, begin:end], factor_II[begin:end, begin:end]
        choose_column = choose(order_I[begin:end], block_OB.clone(), upper_BB.diagonal())
        errors_OB = torch.zeros_like(block_OB)
        for n in range(end - begin):
            old_O = block_OB[:, n].clone()
            new_O = choose_column(n, old_O).double()
            errors_OB[:, n] = (old_O - new_O) / upper_BB[n, n]
            block_OB[:, n] = new_O
            block_OB[:, n + 1 :] -= torch.outer(errors_OB[:, n], upper_BB[n, n + 1 :])
        work_OI[:, end:] -= errors_OB @ factor_II[begin:end, end:]
    solved_OI = torch.empty_like(work_OI)
    solved_OI[:, order_I] = work_OI
    return solved_OI.to(weight_OI.dtype)


def inverse_factor(hessian_II: Tensor, damping: float) -> Tensor:
    """Return the upper triangular U with ``U.T @ U`` the inverse of the damped Hessian.

    Inputs that were always 0 get a diagonal of 1, so that their columns change no others.
    """
    damped_II = hessian_II.double().clone()
    diagonal_I = damped_II.diagonal()
    mean = float(diagonal_I.mean())
    diagonal_I += damping * mean
    diagonal_I[hessian_II.diagonal() == 0] = mean or 1.0
    inverse_II = torch.cholesky_inverse(torch.linalg.cholesky(damped_II))
    return torch.linalg.cholesky(inverse_II, upper=True)
