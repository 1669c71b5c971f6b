"""Let the remaining blocks learn, in closed form, what removed blocks added to the states.

The last matrix of a block adds to the residual stream. After blocks were removed, its weights are
fitted so that the block's output is as close as possible to the state that the original model has
at this depth: a ridge regression of the missing part on the matrix's inputs. ReplaceMe (arXiv
2505.02819, section 3) fits one linear map at the gap, which it merges into that matrix; here the
matrix itself is fitted, at the gap and in every block after it, on the outputs of the blocks as
they are by then, so that later blocks make up for what earlier ones could not.

Squared errors are relative to the squared norm of each state: every later norm divides by it, and a
few states of a text (its first token) are a hundred times larger than the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lacy.layerwise import BlockVisit, Matrix, find_blocks, walk_blocks

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties that are tried, as shares of the mean diagonal of the Hessian."""

HELD_OUT = 4
"""One in this many texts chooses the penalty."""


@dataclass(frozen=True)
class BlockFit:
    """How well a block's output resembles the state of the original model at its depth."""

    block: int
    """Number of the block in the smaller model."""
    penalty: float | None
    """The chosen penalty; None if nothing was better than leaving the block as it is."""
    errors: tuple[float, float]
    """Mean squared distance relative to the squared norm, before and after, on held-out texts
    before they were used as well."""


@dataclass
class _Sums:
    """Sums over tokens for one regression."""

    hessian_II: Tensor
    product_DI: Tensor
    square: float = 0.0
    count: int = 0

    @classmethod
    def empty(cls, outputs: int, inputs: int) -> _Sums:
        zeros = torch.zeros(outputs, inputs, dtype=torch.float64)
        return cls(torch.zeros(inputs, inputs, dtype=torch.float64), zeros)

    def add(self, inputs_NI: Tensor, missing_ND: Tensor, weight_N: Tensor) -> None:
        """Add tokens: inputs, what is missing of the output, and their weights."""
        scaled_NI = inputs_NI * weight_N[:, None]
        with torch.autocast(inputs_NI.device.type, enabled=False):  # sums need float32
            self.hessian_II += (inputs_NI.T @ scaled_NI).double().cpu()
            self.product_DI += (missing_ND.T @ scaled_NI).double().cpu()
        self.square += float((missing_ND.square().sum(1) * weight_N).sum())
        self.count += len(inputs_NI)

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.hessian_II + other.hessian_II, self.product_DI + other.product_DI,
            self.square + other.square, self.count + other.count,
        )  # fmt: skip

    def solve(self, penalty: float) -> Tensor:
        """Return the change_DI of the weights that minimises error plus penalty."""
        damped_II = self.hessian_II.clone()
        damped_II.diagonal().add_(penalty * float(damped_II.diagonal().mean()) + 1e-12)
        factor_II = torch.linalg.cholesky(damped_II)
        return torch.cholesky_solve(self.product_DI.T, factor_II).T

    def error(self, change_DI: Tensor | None) -> float:
        """Return the mean error after a change of the weights; None for no change."""
        if change_DI is None:
            return self.square / self.count
        quadratic = ((change_DI @ self.hessian_II) * change_DI).sum()
        linear = (change_DI * self.product_DI).sum()
        return (self.square - 2 * float(linear) + float(quadratic)) / self.count


def refit_outputs(
    model: Any,
    original: Any,
    kept: Sequence[int],
    rows: Sequence[Tensor],
    notify: Callable[[str], object] = lambda sentence: None,
) -> tuple[BlockFit, ...]:
    """Fit the last matrix of each block from the first gap on.

    Args:
        model: the model without some blocks; changed in place.
        original: the model with all blocks.
        kept: numbers of the remaining blocks in the original model.
        rows: token ids, as from ``lacy.layerwise.text_rows``; a quarter chooses the penalties.
        notify: receives a sentence about each block.

    Returns:
        One entry per fitted block.
    """
    ends = [following - 1 for following in (*kept[1:], len(find_blocks(original)))]
    targets = _states_after(original, rows, ends)
    found = []
    for visit in walk_blocks(model, rows):
        index = visit.block.index
        wanted = next(targets)
        if ends[index] == index:  # nothing was removed yet
            continue
        fit = _fit(visit, wanted)
        found.append(fit)
        before, after = fit.errors
        notify(f"Block {index + 1} of {len(kept)} fitted: error {before:.4f}, now {after:.4f}.")
    return tuple(found)


def _states_after(
    model: Any, rows: Sequence[Tensor], numbers: Sequence[int]
) -> Iterator[list[Tensor]]:
    """Yield the states_BTD after each of these blocks of a model, the last one among them."""
    for visit in walk_blocks(model, rows):
        if visit.block.index - 1 in numbers:
            yield visit.inputs
    yield list(visit.outputs())


def _fit(visit: BlockVisit, wanted: Sequence[Tensor]) -> BlockFit:
    """Fit the last matrix of a block, unless that does not help on held-out texts."""
    matrix = visit.matrices[-1]
    old_OI = matrix.weight_OI.clone()
    sums = _collect(visit, matrix, wanted)
    if sums is None:
        error = _held_out_error(visit, wanted)
        return BlockFit(visit.block.index, None, (error, error))
    fitted, held = sums
    change, penalty, best = None, None, held.error(None)
    for tried in PENALTIES:
        own = fitted.solve(tried)
        if (error := held.error(own)) < best:
            change, penalty, best = own, tried, error
    before = held.error(None)
    if penalty is None:
        return BlockFit(visit.block.index, None, (before, before))
    change = (fitted + held).solve(penalty)
    matrix.set_weight(old_OI + change.to(old_OI))
    if _held_out_error(visit, wanted) < before:
        return BlockFit(visit.block.index, penalty, (before, best))
    matrix.set_weight(old_OI)  # the output is not linear in this matrix (a norm follows it)
    return BlockFit(visit.block.index, None, (before, before))


def _collect(
    visit: BlockVisit, matrix: Matrix, wanted: Sequence[Tensor]
) -> tuple[_Sums, _Sums] | None:
    """Run a block, and return the sums of the texts to fit and of those that are held out.

    Returns:
        None if the matrix does not add to the state of every token, as in a mixture of experts.
    """
    inputs: list[Tensor] = []
    outputs, size = matrix.weight_OI.shape
    if outputs != wanted[0].shape[-1]:
        return None
    hook = matrix.module.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    sums = _Sums.empty(outputs, size), _Sums.empty(outputs, size)
    number = 0
    try:
        for states_BTD, wanted_BTD in zip(visit.outputs(), wanted, strict=True):
            if [len(one.flatten(0, -2)) for one in inputs] != [states_BTD[..., 0].numel()]:
                return None
            inputs_BTI = inputs.pop().reshape(*states_BTD.shape[:-1], size)  # OPT's has two axes
            for own_TI, is_TD, due_TD in zip(inputs_BTI, states_BTD, wanted_BTD, strict=True):
                missing_TD = (due_TD - is_TD).float()
                sums[_is_held_out(number)].add(own_TI.float(), missing_TD, _weight(due_TD))
                number += 1
    finally:
        hook.remove()
    return sums


def _held_out_error(visit: BlockVisit, wanted: Sequence[Tensor]) -> float:
    """Run a block, and return the mean error on the texts that are held out."""
    total, count, number = 0.0, 0, 0
    for states_BTD, wanted_BTD in zip(visit.outputs(), wanted, strict=True):
        for is_TD, due_TD in zip(states_BTD, wanted_BTD, strict=True):
            if _is_held_out(number):
                missing_TD = (due_TD - is_TD).float()
                total += float((missing_TD.square().sum(1) * _weight(due_TD)).sum())
                count += len(due_TD)
            number += 1
    return total / count


def _is_held_out(number: int) -> bool:
    return number % HELD_OUT == HELD_OUT - 1


def _weight(due_TD: Tensor) -> Tensor:
    """Return the weight of each token: errors count relative to its state."""
    return 1 / due_TD.float().square().sum(-1).clamp_min(1e-12)
