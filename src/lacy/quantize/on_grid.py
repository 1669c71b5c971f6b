"""Recognise weights that lie on the grid of a block type, because they were quantized before.

Rounding such weights to the same type again changes nothing, which flatters any comparison; to
another type, it adds a second error. Blocks need not span the whole grid (those of GPTQ do not), so
all scales that put a block's extremes on two levels are tried. Scales and offsets are float16, so a
block either fits bit by bit or not at all.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from lacy.model import BLOCK, BLOCK_TYPES, BlockKind, BlockMatrix
from lacy.quantize.search import Grid

_FIRST = 4
"""Number of blocks that are looked at first; fresh weights fail here."""


def grid_share(weight_OI: Tensor, kind: BlockKind, *, sample: int = 1024) -> float:
    """Return the share of a matrix's blocks that lie exactly on the grid of a block type.

    Args:
        weight_OI: the weights; I is a multiple of 32.
        kind: the block type.
        sample: number of blocks to look at, evenly spread.
    """
    weight_NK = _spread(weight_OI.detach().float().reshape(-1, BLOCK), sample)
    return float(_exact_grid(weight_NK, kind)[1].float().mean())


def exact_blocks(weight_OI: Tensor) -> BlockMatrix | None:
    """Return the blocks with the fewest bits that hold a matrix exactly; None if there are none.

    Args:
        weight_OI: the weights; I is a multiple of 32.
    """
    kinds = sorted(BLOCK_TYPES, key=lambda kind: BLOCK_TYPES[kind].bits_per_weight)
    found = (blocks_of_kind(weight_OI, kind) for kind in kinds)
    return next((blocks for blocks in found if blocks is not None), None)


def blocks_of_kind(weight_OI: Tensor, kind: BlockKind) -> BlockMatrix | None:
    """Return the blocks of a type that hold a matrix exactly; None if there are none."""
    weight_NK, rows = weight_OI.detach().float().reshape(-1, BLOCK), len(weight_OI)
    first_NK = _spread(weight_NK, _FIRST).cpu()
    lower, upper = _spans(kind)
    tried = _through(first_NK, kind, lower[:, None, None], upper[:, None, None])
    if not (tried.values(first_NK) == first_NK).all(-1).any(0).all():
        return None
    grid, exact_N = _exact_grid(weight_NK, kind)
    if not exact_N.all():
        return None
    offset_OG = grid.offset_N1.half().view(rows, -1) if BLOCK_TYPES[kind].offset else None
    codes_OI = grid.codes(weight_NK.cpu()).view(weight_OI.shape)
    return BlockMatrix(kind, codes_OI, grid.scale_N1.half().view(rows, -1), offset_OG)


def _exact_grid(weight_NK: Tensor, kind: BlockKind) -> tuple[Grid, Tensor]:
    """Return a grid for each block, and whether the block lies on it exactly."""
    weight_NK = weight_NK.cpu()
    left_N = torch.arange(len(weight_NK))
    scale_N1, offset_N1 = torch.zeros(len(left_N), 1), torch.zeros(len(left_N), 1)
    exact_N = torch.zeros(len(left_N), dtype=torch.bool)
    for lower, upper in zip(*_spans(kind), strict=True):
        part_NK = weight_NK[left_N]
        grid = _through(part_NK, kind, lower, upper)
        found_N = (grid.values(part_NK) == part_NK).all(-1)
        here_N = left_N[found_N]
        scale_N1[here_N], offset_N1[here_N] = grid.scale_N1[found_N], grid.offset_N1[found_N]
        exact_N[here_N] = True
        left_N = left_N[~found_N]
        if not len(left_N):
            break
    return Grid(kind, scale_N1, offset_N1), exact_N


@lru_cache
def _spans(kind: BlockKind) -> tuple[Tensor, Tensor]:
    """Return pairs of levels that a block's extremes may have, the most likely ones first.

    For types without offset, only the level of the largest magnitude counts (the second one).
    """
    made, pairs = BLOCK_TYPES[kind], []
    if made.offset:
        last = made.levels[-1]
        pairs = [(low, low + span) for span in range(last, 0, -1) for low in range(last - span + 1)]
        pairs += [(level, level) for level in made.levels]  # blocks of one number
    else:
        ordered = sorted(made.levels, key=lambda level: (-abs(level), level))
        pairs = [(0, level) for level in ordered if level]
    lower, upper = torch.tensor(pairs, dtype=torch.float32).T
    return lower, upper


def _through(weight_NK: Tensor, kind: BlockKind, lower: Tensor, upper: Tensor) -> Grid:
    """Return the grids on which the extremes of the blocks have these levels."""
    if not BLOCK_TYPES[kind].offset:
        largest = weight_NK.abs().argmax(-1, keepdim=True)
        scale_N1 = (weight_NK.gather(-1, largest) / upper).half().float()
        return Grid(kind, scale_N1, torch.zeros_like(scale_N1))
    low, high = weight_NK.amin(-1, keepdim=True), weight_NK.amax(-1, keepdim=True)
    scale_N1 = ((high - low) / (upper - lower).clamp_min(1)).half().float()
    return Grid(kind, scale_N1, (low - scale_N1 * lower).half().float())


def _spread(weight_NK: Tensor, count: int) -> Tensor:
    """Return evenly spread blocks."""
    places = torch.linspace(0, len(weight_NK) - 1, min(count, len(weight_NK)))
    return weight_NK[places.round().long().to(weight_NK.device)]
