"""Set single weights to zero: by size, by Wanda, or by SparseGPT.

All linear layers of the blocks are pruned to the same share; embedding and head, and with them the
``<CALL>`` row, stay dense. Zeros save nothing by themselves: a dense file has the same size and the
same speed. They help where a file is compressed, or where a runtime knows the pattern (2:4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lacy._require import require_one_of
from lacy.errors import LacyError
from lacy.layerwise import (
    BlockVisit,
    Choose,
    InputStatistics,
    Matrix,
    find_blocks,
    solve_columns,
    walk_blocks,
)
from lacy.model import Loaded
from lacy.prune.rebuild import autocast, require_prunable, with_model

WeightChoice = Literal["magnitude", "wanda", "sparsegpt"]
"""How the weights are chosen: the smallest ones of a matrix; those with the smallest product of
size and norm of their input in each row (Wanda, arXiv 2306.11695, section 3); or those whose
removal costs least if the later weights of their row adapt (SparseGPT, arXiv 2301.00774, section
3)."""
WEIGHT_CHOICES = get_args(WeightChoice)

GROUP = 128
"""Columns for which SparseGPT chooses together (its section 3.2)."""


@dataclass(frozen=True)
class WeightsPruned:
    """A model with zeros among its weights, and what was done."""

    loaded: Loaded
    method: WeightChoice
    pattern: str
    """``2:4``, or the share of zeros, such as ``0.5``."""
    matrices: int
    """Number of pruned matrices."""
    weights: int
    """Number of weights in them."""
    zeros: tuple[int, int]
    """Number of zeros in them before and after."""
    unused: tuple[str, ...]
    """Layers that the calibration texts never reached (experts); pruned by magnitude."""


def prune_weights(
    loaded: Loaded,
    rows: Sequence[Tensor] = (),
    *,
    method: WeightChoice = "wanda",
    sparsity: float = 0.5,
    pattern: str | None = None,
    bf16: bool = False,
    notify: Callable[[str], object] = lambda sentence: None,
) -> WeightsPruned:
    """Set a share of the weights of all linear layers in the blocks to zero.

    Args:
        loaded: the model; changed in place.
        rows: token ids, as from ``lacy.layerwise.text_rows``; not needed for ``magnitude``.
        method: how the weights are chosen.
        sparsity: share of zeros in every matrix (in every row for ``wanda``).
        pattern: ``N:M`` keeps at most N of every M neighbouring weights of a row instead, such as
            ``2:4``, which GPUs compute faster.
        bf16: run the blocks in bfloat16, which some processors do several times faster.
        notify: receives a sentence about every block.

    Raises:
        LacyError: E292, the pattern does not fit the matrices, or there are no rows; E293, weights
            are not finite; E311, the model is quantized; E281, it cannot be run block by block;
            E12, a setting is invalid.
    """
    require_one_of("method", method, WEIGHT_CHOICES)
    rule = _Rule.of(sparsity, pattern)
    require_prunable(loaded)
    model: Any = loaded.model
    blocks = find_blocks(model)
    matrices = [matrix for block in blocks for matrix in block.matrices]
    _check(matrices, rule)
    if method != "magnitude" and not rows:
        raise LacyError("E292", pattern=rule, why=f"{method} needs calibration texts")
    before = count_zeros(matrices)
    unused: list[str] = []
    if method == "magnitude":
        for matrix in matrices:
            _zero(matrix, rule.keep_in_matrix(matrix.weight_OI.abs()))
    else:
        with autocast(model, bf16):
            for visit in walk_blocks(model, rows):
                unused += _prune_block(visit, method, rule)
                number = f"{visit.block.index + 1} of {len(blocks)}"
                notify(f"Block {number}: {rule} pruned by {method}.")
    return WeightsPruned(
        with_model(loaded, model), method, str(rule), len(matrices),
        sum(matrix.weight_OI.numel() for matrix in matrices), (before, count_zeros(matrices)),
        tuple(unused),
    )  # fmt: skip


def _prune_block(visit: BlockVisit, method: WeightChoice, rule: _Rule) -> list[str]:
    """Prune the matrices of a block; return the names of those that no text reached."""
    unused = []
    statistics = visit.statistics(hessian=method == "sparsegpt")
    for matrix in visit.matrices:
        own = statistics[matrix.name]
        if not own.count:
            unused.append(matrix.name)
            _zero(matrix, rule.keep_in_matrix(matrix.weight_OI.abs()))
        elif method == "wanda":
            _zero(matrix, rule.keep_in_rows(wanda_scores(matrix.weight_OI, own)))
        else:
            matrix.set_weight(sparsegpt(matrix.weight_OI, own, rule))
    return unused


def check_weights(model: Any, *, sparsity: float = 0.5, pattern: str | None = None) -> None:
    """Check that ``prune_weights`` can be applied, without changing anything.

    Args:
        model: the model, or the structure of a smaller one as from ``check_width``.
        sparsity: as in ``prune_weights``.
        pattern: likewise.

    Raises:
        LacyError: E292, the pattern does not fit the matrices; E12, a setting is invalid.
    """
    matrices = [matrix for block in find_blocks(model) for matrix in block.matrices]
    _check(matrices, _Rule.of(sparsity, pattern))


def count_zeros(matrices: Sequence[Matrix]) -> int:
    """Return the number of weights that are exactly zero."""
    return sum(int((matrix.weight_OI == 0).sum()) for matrix in matrices)


def wanda_scores(weight_OI: Tensor, statistics: InputStatistics) -> Tensor:
    """Return ``|weight| * norm of its input`` as scores_OI."""
    return weight_OI.abs() * statistics.norms_I.to(weight_OI)


def sparsegpt(weight_OI: Tensor, statistics: InputStatistics, rule: _Rule) -> Tensor:
    """Return the matrix after pruning, in which later weights make up for removed ones."""

    def choose(columns_B: Tensor, weight_OB: Tensor, pivot_B: Tensor) -> Callable[..., Tensor]:
        kept_OB = rule.keep_in_matrix((weight_OB / pivot_B).square())
        return lambda n, values_O: values_O * kept_OB[:, n]

    assert statistics.hessian_II is not None
    group = rule.of_every or GROUP
    chooser: Choose = choose
    return solve_columns(weight_OI, statistics.hessian_II, chooser, group=group)


@dataclass(frozen=True)
class _Rule:
    """How many weights remain: a share of each matrix or row, or N of every M neighbours."""

    share: float
    """Share of zeros."""
    kept: int = 0
    of_every: int = 0

    @classmethod
    def of(cls, sparsity: float, pattern: str | None) -> _Rule:
        if pattern is None:
            if 0.0 < sparsity < 1.0:
                return cls(sparsity)
            do = "give a share between 0 and 1, such as 0.5"
            raise LacyError("E12", key="sparsity", value=sparsity, why="out of range", do=do)
        match = re.fullmatch(r"([1-9]\d?):([1-9]\d?)", pattern)
        if match is None or int(match[1]) >= int(match[2]):
            do = "give N:M with N less than M, such as 2:4"
            raise LacyError("E12", key="pattern", value=pattern, why="not N:M", do=do)
        kept, of_every = int(match[1]), int(match[2])
        return cls(1 - kept / of_every, kept, of_every)

    def __str__(self) -> str:
        return f"{self.kept}:{self.of_every}" if self.of_every else f"{self.share:g}"

    def keep_in_rows(self, scores_OI: Tensor) -> Tensor:
        """Return the mask of the weights that remain, if rows are pruned alike."""
        size = self.of_every or scores_OI.shape[1]
        gone = size - self.kept if self.of_every else int(size * self.share)
        groups = scores_OI.unflatten(1, (-1, size))
        lowest = groups.argsort(dim=-1, stable=True)[..., :gone]
        return torch.ones_like(groups, dtype=torch.bool).scatter(-1, lowest, False).flatten(1)

    def keep_in_matrix(self, scores_OI: Tensor) -> Tensor:
        """Return the same, if rows may differ; with N:M they cannot."""
        if self.of_every:
            return self.keep_in_rows(scores_OI)
        return self.keep_in_rows(scores_OI.reshape(1, -1)).view(scores_OI.shape)


def _zero(matrix: Matrix, kept_OI: Tensor) -> None:
    # Multiplying would make -0.0, which compresses worse.
    matrix.set_weight(torch.where(kept_OI, matrix.weight_OI, 0.0))


def _check(matrices: Sequence[Matrix], rule: _Rule) -> None:
    """Raise E292 if the rule does not fit the matrices."""
    for matrix in matrices:
        inputs = matrix.weight_OI.shape[1]
        if rule.of_every and inputs % rule.of_every:
            why = f"{matrix.name} has {inputs} inputs, which is no multiple of {rule.of_every}"
            raise LacyError("E292", pattern=rule, why=why)
