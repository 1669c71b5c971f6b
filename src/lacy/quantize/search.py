"""Scales of blocks that minimise a weighted squared error.

``BlockMatrix.nearest`` takes scale and offset from the extremes of a block, so that two outliers
decide about 32 weights. Here, a set of scales is tried; for each, weights are rounded and scale and
offset are fitted to the rounded weights by weighted least squares, as llama.cpp does with an
importance matrix (``make_qkx3_quants``, ``make_qx_quants`` in ggml-quants.c). The best ones are
refined and rounded to float16, and the weights are rounded again. Extremes win where they are
better, so the error is never larger than that of ``nearest``.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from lacy.model import BLOCK, BLOCK_TYPES, BlockKind, BlockMatrix, nearest_codes

_WIDTHS = (0.70, 0.76, 0.82, 0.88, 0.94, 1.0, 1.05)
"""Widths of the grid that are tried, relative to the range of the weights."""

_FIXED = (0.5, 0.0, 1.0)
"""For types with offset: the part of the range that stays where it is; an outlier may be at either
end."""

_REFINEMENTS = 2
"""Rounds of rounding the weights and fitting the scale to them."""

_SLICE = 1 << 20
"""Number of weights that are searched at a time; they fit into a processor's cache."""


class Grid(NamedTuple):
    """Scale and offset of N blocks, float32 (N, 1) of numbers that float16 holds exactly."""

    kind: BlockKind
    scale_N1: Tensor
    offset_N1: Tensor

    def codes(self, weight_NK: Tensor) -> Tensor:
        """Return the indices of the nearest levels, uint8 (N, K)."""
        inverse_N1 = torch.where(self.scale_N1 == 0, 0.0, 1 / self.scale_N1)
        return nearest_codes(self.kind, (weight_NK - self.offset_N1) * inverse_N1)

    def values(self, weight_NK: Tensor) -> Tensor:
        """Return the nearest values, exactly as a file's reader computes them."""
        levels = _levels(self.kind, weight_NK)
        values_NK = levels[self.codes(weight_NK).long()] * self.scale_N1
        return values_NK + self.offset_N1 if BLOCK_TYPES[self.kind].offset else values_NK


def search_matrix(
    weight_OI: Tensor, kind: BlockKind, importance_I: Tensor | None = None
) -> BlockMatrix:
    """Round a matrix to blocks whose scales minimise the weighted squared error.

    Args:
        weight_OI: the weights; I is a multiple of 32.
        kind: the type of the blocks.
        importance_I: weight of each column's error, such as the diagonal of the Hessian; by default
            all are equal.
    """
    rows, columns = weight_OI.shape
    if importance_I is None:
        importance_I = torch.ones(columns, device=weight_OI.device)
    importance_GK = importance_I.float().view(-1, BLOCK)
    step = max(1, _SLICE // columns)
    parts = []
    for part_OI in weight_OI.detach().float().split(step):
        weight_NK = part_OI.reshape(-1, BLOCK)
        grid = search_grid(weight_NK, kind, importance_GK.repeat(len(part_OI), 1))
        parts.append((grid.codes(weight_NK), grid.scale_N1, grid.offset_N1))
    codes, scale, offset = (torch.cat([part[n] for part in parts]) for n in range(3))
    has_offset = BLOCK_TYPES[kind].offset
    return BlockMatrix(
        kind,
        codes.view(rows, columns),
        scale.half().view(rows, -1),
        offset.half().view(rows, -1) if has_offset else None,
    )


def search_grid(weight_NK: Tensor, kind: BlockKind, importance_NK: Tensor) -> Grid:
    """Return the scales and offsets of blocks that minimise their weighted squared errors.

    Args:
        weight_NK: N blocks of 32 weights, float32.
        kind: the type of the blocks.
        importance_NK: weight of each error; of any scale.
    """
    total_N1 = importance_NK.sum(-1, keepdim=True)
    importance_NK = torch.where(total_N1 > 0, importance_NK, 1.0)
    extremes = _extremes(weight_NK, kind)
    best = _rounded(extremes)
    error_N1 = _error(best, weight_NK, importance_NK)
    fitted = extremes
    lowest_N1 = error_N1
    fixed = _FIXED if BLOCK_TYPES[kind].offset else (0.0,)
    for width, part in itertools.product(_WIDTHS, fixed):
        found = _fitted(_scaled(extremes, width, part), weight_NK, importance_NK)
        tried_N1 = _error(found, weight_NK, importance_NK)
        fitted = _better(found, fitted, tried_N1 < lowest_N1)
        lowest_N1 = torch.minimum(tried_N1, lowest_N1)
    for _ in range(_REFINEMENTS):
        fitted = _fitted(fitted, weight_NK, importance_NK)
        found = _rounded(fitted)
        found_N1 = _error(found, weight_NK, importance_NK)
        best = _better(found, best, found_N1 < error_N1)
        error_N1 = torch.minimum(found_N1, error_N1)
    return best


def _extremes(weight_NK: Tensor, kind: BlockKind) -> Grid:
    """Return the grids whose ends are the extremes of the blocks."""
    made = BLOCK_TYPES[kind]
    if made.offset:
        low, high = weight_NK.amin(-1, keepdim=True), weight_NK.amax(-1, keepdim=True)
        return Grid(kind, (high - low) / made.levels[-1], low)
    largest = weight_NK.abs().argmax(-1, keepdim=True)
    # The level of the largest magnitude is the first one, so the sign of the scale may be negative.
    scale_N1 = weight_NK.gather(-1, largest) / made.levels[0]
    return Grid(kind, scale_N1, torch.zeros_like(scale_N1))


def _scaled(extremes: Grid, width: float, part: float) -> Grid:
    """Return grids of another width, which keep one point: ``part`` of the range, from 0 to 1."""
    moved_N1 = extremes.scale_N1 * (1 - width) * (BLOCK_TYPES[extremes.kind].levels[-1] * part)
    return Grid(extremes.kind, extremes.scale_N1 * width, extremes.offset_N1 + moved_N1)


def _fitted(grid: Grid, weight_NK: Tensor, importance_NK: Tensor) -> Grid:
    """Round the weights to a grid, and fit scale and offset to the levels by least squares."""
    level_NK = _levels(grid.kind, weight_NK)[grid.codes(weight_NK).long()]
    weighted_NK = importance_NK * level_NK
    ll, lw = (weighted_NK * level_NK).sum(-1, True), (weighted_NK * weight_NK).sum(-1, True)
    if not BLOCK_TYPES[grid.kind].offset:
        return Grid(grid.kind, torch.where(ll > 0, lw / ll, grid.scale_N1), grid.offset_N1)
    one, level = importance_NK.sum(-1, True), weighted_NK.sum(-1, True)
    weight = (importance_NK * weight_NK).sum(-1, True)
    determinant = one * ll - level.square()
    solvable = determinant > 1e-6 * one * ll
    scale_N1 = torch.where(solvable, (one * lw - level * weight) / determinant, grid.scale_N1)
    offset_N1 = torch.where(solvable, (ll * weight - level * lw) / determinant, grid.offset_N1)
    return Grid(grid.kind, scale_N1, offset_N1)


def _rounded(grid: Grid) -> Grid:
    return Grid(grid.kind, grid.scale_N1.half().float(), grid.offset_N1.half().float())


def _error(grid: Grid, weight_NK: Tensor, importance_NK: Tensor) -> Tensor:
    difference_NK = grid.values(weight_NK) - weight_NK
    return (importance_NK * difference_NK.square()).sum(-1, keepdim=True)


def _better(new: Grid, old: Grid, where_N1: Tensor) -> Grid:
    scale_N1 = torch.where(where_N1, new.scale_N1, old.scale_N1)
    return Grid(old.kind, scale_N1, torch.where(where_N1, new.offset_N1, old.offset_N1))


def _levels(kind: BlockKind, like: Tensor) -> Tensor:
    return torch.tensor(BLOCK_TYPES[kind].levels, dtype=torch.float32, device=like.device)
